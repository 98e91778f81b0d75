# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TUM RGB-D sequences: images and depth images of two folders, associated by time.

Sturm et al., "A Benchmark for the Evaluation of RGB-D SLAM Systems", IROS 2012.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from mt_perception.data_files import LARGE, read_text
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.annotations import key_of

UNITS_PER_METRE = 5000.0
TOLERANCE_S = 0.02
"""Largest difference in time between an image and its depth image, as in TUM's own tool."""

_STAMP = re.compile(r'\d{6,}\.\d+')
_ASSOCIATIONS = ('associations.txt', 'associate.txt', 'associated.txt')


def is_tum(folder: Path) -> bool:
    """Whether a folder is a TUM RGB-D sequence: ``rgb`` and ``depth``, named by time or listed."""
    if not (folder / 'rgb').is_dir() or not (folder / 'depth').is_dir():
        return False
    lists = ('depth.txt', *_ASSOCIATIONS)
    if any((folder / name).is_file() for name in lists):
        return True
    first = next((folder / 'depth').glob('*.png'), None)
    return first is not None and _STAMP.fullmatch(first.stem) is not None


def associations(folder: Path) -> dict[str, str]:
    """Image key → key of its depth image.

    Read from ``associations.txt`` if there is one; else each image is associated with the depth
    image that is nearest in time, at most ``TOLERANCE_S`` apart.

    Raises:
        SourceError: A list cannot be read.
    """
    for name in _ASSOCIATIONS:
        if (folder / name).is_file():
            return dict(_pairs(folder / name))
    images, depths = _times(folder, 'rgb'), sorted(_times(folder, 'depth').items())
    stamps = [stamp for stamp, _ in depths]
    pairs = {}
    for stamp, key in images.items():
        at = bisect_left(stamps, stamp)
        near = min(
            range(max(0, at - 1), min(at + 1, len(stamps))),
            key=lambda i: abs(stamps[i] - stamp),
            default=None,
        )
        if near is not None and abs(stamps[near] - stamp) <= TOLERANCE_S:
            pairs[key] = depths[near][1]
    return pairs


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Lines ``time rgb/name time depth/name``, in either order of the two."""
    for words in _lines(path):
        keys = {Path(word).parts[0]: _key(word) for word in words if '/' in word}
        if {'rgb', 'depth'} <= keys.keys():
            yield keys['rgb'], keys['depth']


def _times(folder: Path, kind: str) -> dict[float, str]:
    """Time in seconds → key, from ``rgb.txt`` or ``depth.txt``, else from the files' names."""
    listed = folder / f'{kind}.txt'
    if listed.is_file():
        return {
            float(words[0]): _key(words[1])
            for words in _lines(listed)
            if len(words) == 2 and _STAMP.fullmatch(words[0])
        }
    files = (path for path in (folder / kind).iterdir() if _STAMP.fullmatch(path.stem))
    return {float(path.stem): path.stem for path in files}


def _lines(path: Path) -> Iterator[list[str]]:
    for line in read_text(path, SourceError, LARGE).splitlines():
        if line.strip() and not line.startswith('#'):
            yield line.split()


def _key(word: str) -> str:
    return key_of(word.split('/', 1)[-1])
