# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two parts of validation data, one to choose with and one to report; training has neither.

The file is YAML. `images` names images by folder and part, `scenes` whole scenes of recordings:

    images:
      coco: {choose: ['000000000139'], report: ['000000000285']}
    scenes:
      rgbd_scenes/office: {choose: [desk], report: [corridor, kitchen]}
    focal_px:
      rgbd_scenes/office: 570.0
    trained_later:
      cspnano 0.8.0: [rgbd_scenes/office]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mt_perception.data_files import read_yaml
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.recording import Recording

CHOOSE, REPORT = 'choose', 'report'
PARTS = (CHOOSE, REPORT)

_FIELDS = frozenset({'images', 'scenes', 'focal_px', 'trained_later'})

Names = Mapping[str, Mapping[str, frozenset[str]]]
"""Folder → part → names."""


@dataclass(frozen=True)
class Parts:
    """The images and scenes that are kept from training.

    Args:
        images: folder inside the data folder → part → keys of images.
        scenes: the same for scenes.
        focal_px: folder → focal length in pixels of its stored images, where the recording has
            no cameras.
        trained_later: name and version of a model → folders whose images it was trained on after
            its accuracy there had been measured.
        file: where it was read from; None if made in memory.
    """

    images: Names
    scenes: Names
    focal_px: Mapping[str, float] = field(default_factory=dict)
    trained_later: Mapping[str, frozenset[str]] = field(default_factory=dict)
    file: Path | None = None

    def unseen_by(self, model: str) -> Parts:
        """Return the parts without the folders that a model was trained on later.

        Args:
            model: name and version, for example 'cspnano 0.8.0'.
        """
        seen = self.trained_later.get(model, frozenset())
        images, scenes = (
            {folder: names for folder, names in kind.items() if folder not in seen}
            for kind in (self.images, self.scenes)
        )
        return replace(self, images=images, scenes=scenes)

    def folders(self, part: str) -> tuple[str, ...]:
        """Give the recordings of which a part has scenes or images, in the file's order."""
        both = {**self.images, **self.scenes}
        return tuple(
            f for f in both
            if any(kind.get(f, {}).get(part) for kind in (self.images, self.scenes))
        )  # fmt: skip

    def part_of(self, folder: str, key: str, recording: Recording | None) -> str | None:
        """Give the part of an image, or None where it may be trained on.

        Args:
            folder: its data set, inside the data folder.
            key: its name without the suffix.
            recording: what the data set knows about its scenes. An image without a scene
                belongs to one that has the name of the folder.
        """
        scene = Path(folder).name if recording is None else recording.scenes.get(key, '')
        for part in PARTS:
            if key in self.images.get(folder, {}).get(part, ()):
                return part
            if scene in self.scenes.get(folder, {}).get(part, ()):
                return part
        return None


def read_parts(path: Path) -> Parts:
    """Read a file of parts.

    Raises:
        SourceError: it cannot be read, is of another form, or an image or scene is in two parts.
    """
    data = read_yaml(path, SourceError)
    if not isinstance(data, dict) or set(data) - _FIELDS:
        raise SourceError(f'{path}: expected the maps {", ".join(sorted(_FIELDS))}')
    images, scenes = (_names(path, data.get(kind, {})) for kind in ('images', 'scenes'))
    focal = data.get('focal_px', {})
    if not isinstance(focal, dict) or not all(
        isinstance(value, int | float) and value > 0 for value in focal.values()
    ):
        raise SourceError(f'{path}: focal_px: expected a map of folder to pixels, found {focal!r}')
    later = data.get('trained_later', {})
    if not isinstance(later, dict) or not all(isinstance(f, list) for f in later.values()):
        raise SourceError(f'{path}: trained_later: expected a map of model to list of folders')
    return Parts(
        images,
        scenes,
        {str(folder): float(v) for folder, v in focal.items()},
        {str(model): frozenset(map(str, folders)) for model, folders in later.items()},
        path,
    )


def _names(path: Path, data: object) -> Names:
    found: dict[str, dict[str, frozenset[str]]] = {}
    if not isinstance(data, dict):
        raise SourceError(f'{path}: expected a map of folders, found {type(data).__name__}')
    for folder, parts in data.items():
        if not isinstance(parts, dict) or set(parts) - set(PARTS):
            raise SourceError(f'{path}: {folder}: expected the parts {" and ".join(PARTS)}')
        found[str(folder)] = {p: frozenset(map(str, names)) for p, names in parts.items()}
        twice = frozenset.intersection(*(found[str(folder)].get(p, frozenset()) for p in PARTS))
        if twice:
            raise SourceError(f'{path}: {folder}: in both parts: {", ".join(sorted(twice))}')
    return found
