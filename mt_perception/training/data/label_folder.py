# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a segmentation folder: images, and for each a label image whose pixels are class ids."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.dataset_folder import held_out
from mt_perception.evaluation.datasets.layout import IMAGE_FOLDERS, LABEL_FOLDERS
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_class_names
from mt_perception.image.read import IMAGE_SUFFIXES
from mt_perception.training.data.samples import Sample, read_image, read_map


def read_segmentation(
    folder: Path, classes: ClassMap, names: Mapping[int, str] | None = None, part: str = 'train'
) -> list[Sample]:
    """Read a folder as `mt_perception evaluate` reads it: images/, semantic/ and a YAML file.

    Args:
        folder: images in images/ or rgb/; label images of the same names, PNG with one channel,
            in semantic/, labels/, label/ or masks/.
        classes: the network's classes.
        names: class name of each id; else the one YAML file of the folder says them, under
            `classes`. An id without a name is unlabelled.
        part: train, held_out (every fifth block of five images) or all.

    Raises:
        SourceError: a folder or the names are missing.
    """
    images = _existing(folder, IMAGE_FOLDERS, 'images')
    labels = _existing(folder, LABEL_FOLDERS, 'label images')
    table = classes.segmentation_table(_names(folder) if names is None else names)
    paths = sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    samples = []
    for index, path in enumerate(paths):
        if part != 'all' and held_out(index) != (part == 'held_out'):
            continue
        height, width = read_image(path).shape[:2]
        label = labels / f'{path.stem}.png'
        samples.append(
            Sample(
                f'{folder.name}_{path.stem}',
                path,
                (height, width),
                semantic=partial(_lookup, label, table) if label.exists() else None,
            )
        )
    if samples and not any(sample.semantic for sample in samples):
        raise SourceError(f'{labels} has no PNG file of the same name as an image of {images}')
    return samples


def _existing(folder: Path, names: tuple[str, ...], what: str) -> Path:
    found = next((folder / name for name in names if (folder / name).is_dir()), None)
    if found is None:
        raise SourceError(f'{folder}: expected {what} in a folder called {" or ".join(names)}')
    return found


def _names(folder: Path) -> Mapping[int, str]:
    files = sorted(folder.glob('*.y*ml'))
    if len(files) != 1:
        raise SourceError(
            f'{folder} has {len(files)} YAML files that could name its classes; have one, or '
            'give the names in the recipe'
        )
    return read_class_names(files[0])


def _lookup(path: Path, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    ids = read_map(path)
    if ids.size and int(ids.max()) > 255:
        raise SourceError(f'{path}: class ids are 0 to 255; found {int(ids.max())}')
    return table[ids.astype(np.uint8)]
