# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Inputs of an evaluation: the state of its files, and the differences of two evaluations."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from mt_perception.evaluation.output import MARKER
from mt_perception.evaluation.records import Json

_SMALL_BYTES = 1 << 20
_SHORT = 40


def input_state(path: Path) -> str:
    """SHA-256 that changes with the content of a file or folder; empty for anything else.

    A file of up to 1 MiB counts by its bytes, so that a copy is the same. A larger file, and each
    file of a folder, counts by name, size and time of its last change: a data set is not read.
    Hidden files and the output folders of commands are not counted.
    """
    path = Path(os.path.expanduser(path))
    state = hashlib.sha256()
    try:
        if path.is_dir():
            for line in _listing(path):
                state.update(line)
        elif not path.is_file():
            # A camera or a pipe: its bytes may have no end, and come only once.
            return ''
        elif path.stat().st_size <= _SMALL_BYTES:
            state.update(path.read_bytes())
        else:
            state.update(_line('', path.stat()))
    except OSError:
        return ''
    return state.hexdigest()


def differences(before: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    """Names of the parameters that differ, with both values where these are short."""
    found = []
    for name in dict.fromkeys([*now, *before]):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += [f'{name}.{text}' for text in differences(old, new)]
        elif _plain(old) != _plain(new):
            short = max(len(str(old)), len(str(new))) <= _SHORT
            found.append(f'{name} ({old}, now {new})' if short else name)
    return found


def _plain(value: Json) -> Json:
    """Lists and tuples of equal values are equal."""
    return list(value) if isinstance(value, tuple) else value


def _listing(top: Path) -> Iterator[bytes]:
    """A line for each file in a folder and below, in the order of their names."""
    seen: set[tuple[int, int]] = set()
    for folder, names, files in os.walk(top, followlinks=True):
        place = os.stat(folder)
        own = folder != str(top) and MARKER in files
        if own or (place.st_dev, place.st_ino) in seen:
            # A link to a folder above would be walked without an end.
            names.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        names[:] = sorted(name for name in names if not name.startswith('.'))
        for name in sorted(name for name in files if not name.startswith('.')):
            file = os.path.join(folder, name)
            if os.path.exists(file):
                yield _line(os.path.relpath(file, top), os.stat(file))


def _line(name: str, status: os.stat_result) -> bytes:
    return f'{name!r} {status.st_size} {status.st_mtime_ns}\n'.encode(errors='surrogateescape')
