# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Class names across data sets: maps a data set's classes to a model's labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.data_files import read_yaml
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.truth import UNKNOWN_CLASS
from mt_perception.types import UNLABELLED

DEFAULT_TAXONOMY = Path(__file__).with_name('taxonomy.yaml')


@dataclass(frozen=True)
class Taxonomy:
    """Groups and spellings of class names.

    Attributes:
        labels: The coarse labels, in order.
        members: A data set's class name → its coarse label.
        aliases: Another spelling → the name.
        rest: The coarse label of every unlisted name; None if there is none.
    """

    labels: tuple[str, ...]
    members: Mapping[str, str]
    aliases: Mapping[str, str]
    rest: str | None

    def find(self, name: str, labels: Sequence[str]) -> int | None:
        """The index of a data set's class among a model's labels, ignoring ``rest``."""
        for candidate in (name, self.aliases.get(name), self.gather(name)):
            if candidate is not None and candidate in labels:
                return labels.index(candidate)
        return None

    def gather(self, name: str) -> str | None:
        """The coarse label that lists this name, or None."""
        return self.members.get(name, self.members.get(self.aliases.get(name, ''), None))


@dataclass(frozen=True)
class ClassMap:
    """Maps a data set's class names to the labels of the model that is evaluated.

    Attributes:
        detection: The model's detection labels; empty without detection.
        segmentation: The model's segmentation labels; empty without segmentation.
        taxonomy: Groups and spellings of class names.
    """

    detection: tuple[str, ...]
    segmentation: tuple[str, ...]
    taxonomy: Taxonomy

    def detection_id(self, name: str) -> int:
        """The detection class of a name; -1 where the model lacks it."""
        found = self.taxonomy.find(name, self.detection)
        return UNKNOWN_CLASS if found is None else found

    def exhaustive(self, names: Iterable[str]) -> frozenset[int]:
        """The model's classes that a data set with these names annotates."""
        return frozenset(self.detection_id(name) for name in names) - {UNKNOWN_CLASS}

    def segmentation_id(self, name: str) -> int:
        """The segmentation class of a name; 255 if the model has none."""
        found = self.taxonomy.find(name, self.segmentation)
        if found is None and self.taxonomy.rest in self.segmentation:
            return self.segmentation.index(self.taxonomy.rest)
        return UNLABELLED if found is None else found

    def segmentation_table(self, names: Mapping[int, str]) -> NDArray[np.uint8]:
        """uint8 (65536,): a data set's pixel value → segmentation class; 255 if it has no name.

        Label images have 8 or 16 bits, so one table covers every pixel.
        """
        table = np.full(1 << 16, UNLABELLED, np.uint8)
        for value, name in names.items():
            if not is_unlabelled(name):
                table[value] = self.segmentation_id(name)
        return table


def is_unlabelled(name: str) -> bool:
    """Whether a data set's class name means that a pixel has no class."""
    return name.strip().lower() in {'', 'unlabeled', 'unlabelled', 'void', 'ignore', 'ignored'}


def read_taxonomy(path: Path = DEFAULT_TAXONOMY) -> Taxonomy:
    """Read names from a YAML file with ``classes``, and optionally ``aliases`` and ``rest``.

    Raises:
        SourceError: The file cannot be read, or a name belongs to two classes.
    """
    data = _read_mapping(path)
    classes = data.get('classes')
    aliases = data.get('aliases') or {}
    rest = data.get('rest')
    if not isinstance(classes, dict) or not isinstance(aliases, dict):
        raise SourceError(f'{path}: expected "classes", a map of label to a list of names')
    members: dict[str, str] = {}
    for label, names in classes.items():
        for name in names or []:
            if members.setdefault(str(name), str(label)) != str(label):
                raise SourceError(f'{path}: {name!r} belongs to two classes; leave it in one')
    if rest is not None and rest not in classes:
        raise SourceError(f'{path}: rest is {rest!r}, which is none of its classes')
    return Taxonomy(
        labels=tuple(map(str, classes)),
        members=members,
        aliases={str(key): str(value) for key, value in aliases.items()},
        rest=None if rest is None else str(rest),
    )


def read_class_names(path: Path) -> dict[int, str]:
    """Read ``classes``, a map of pixel value (or class id) to name, from a YAML file.

    Raises:
        SourceError: The file cannot be read or does not hold such a map.
    """
    data = _read_mapping(path)
    names = data.get('classes', data.get('names'))
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not all(
        isinstance(key, int) and not isinstance(key, bool) and 0 <= key < 1 << 16 for key in names
    ):
        raise SourceError(
            f'{path}: expected "classes", a map of pixel value to name such as "1: person"'
        )
    return {key: str(name) for key, name in names.items()}


def _read_mapping(path: Path) -> dict[str, object]:
    data = read_yaml(path, SourceError)
    if not isinstance(data, dict):
        raise SourceError(f'{path}: expected a map with "classes"')
    return data
