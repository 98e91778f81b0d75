# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds where a data set keeps its images and its ground truth.

Read are COCO (as downloaded, with ``instances.json``, Roboflow, FiftyOne, Label Studio), YOLO
(Ultralytics, Roboflow), TUM RGB-D, MOTChallenge, and folders of label and depth images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.coco import is_coco_file
from mt_perception.evaluation.datasets.maps import MILLIMETRES
from mt_perception.evaluation.datasets.mot import find_tracks
from mt_perception.evaluation.datasets.tum import UNITS_PER_METRE, is_tum
from mt_perception.image.read import IMAGE_SUFFIXES

IMAGE_FOLDERS = ('images', 'rgb', 'JPEGImages', 'img1')
LABEL_FOLDERS = ('semantic', 'labels', 'label', 'masks')
DEPTH_FOLDER = 'depth_mm'
INSTANCES_FILE = 'instances.json'

_COCO_FILES = (INSTANCES_FILE, '_annotations.coco.json')
_YOLO_FILES = ('data.yaml', 'data.yml', 'dataset.yaml')
_ANNOTATIONS = re.compile('annotation|instances|label|coco')
_SPLITS = ('train', 'valid', 'val', 'test')


@dataclass(frozen=True)
class Layout:
    """Paths of the parts of a data set; None for missing parts.

    Attributes:
        root: The data set's folder.
        images: The folder of images.
        coco: The COCO annotation file.
        yolo: The folder of YOLO label files.
        yolo_names: The YAML file that names YOLO's classes.
        labels: The folder of label images.
        depth: The folder of depth images.
        units_per_metre: Units of the depth images.
        tum: Whether images and depth images are associated by time (TUM RGB-D).
        tracks: The text file of true tracks (MOTChallenge).
        has_split: Whether ``split`` chose a sub-folder, so that it need not choose images.
        notes: One sentence for each file or folder that was found and is not read.
    """

    root: Path
    images: Path
    coco: Path | None = None
    yolo: Path | None = None
    yolo_names: Path | None = None
    labels: Path | None = None
    depth: Path | None = None
    units_per_metre: float = MILLIMETRES
    tum: bool = False
    tracks: Path | None = None
    has_split: bool = False
    notes: tuple[str, ...] = ()

    def list_images(self) -> list[str]:
        """Names of the image files inside ``images``, sorted; sub-folders only if need be.

        Raises:
            SourceError: The folder cannot be read.
        """
        try:
            there = [p for p in self.images.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
            if not there and self.images != self.root:
                there = [p for p in self.images.rglob('*') if p.suffix.lower() in IMAGE_SUFFIXES]
        except OSError as error:
            raise SourceError(f'{self.images} cannot be read: {error.strerror}') from error
        return sorted(path.relative_to(self.images).as_posix() for path in there)


def find_layout(folder: Path, split: str | None = None) -> Layout:
    """Find the images and the ground truth of a data set.

    Args:
        folder: The data set.
        split: Name of a split, where each split has a folder of its own.

    Raises:
        SourceError: The folder has several splits and ``split`` names none of them.
    """
    splits = {layout.images.name: layout for layout in _coco_splits(folder)}
    splits |= dict(_split_folders(folder))
    if not splits:
        return _plain(folder)
    if split is None and len(splits) > 1:
        raise SourceError(
            f'{folder} has the splits {", ".join(sorted(splits))}; name one with --split'
        )
    name = next(iter(splits)) if split is None else split
    if name not in splits:
        raise SourceError(
            f'{folder} has no split {name!r}; its splits: {", ".join(sorted(splits))}'
        )
    return replace(splits[name], has_split=True)


def _coco_splits(folder: Path) -> Iterator[Layout]:
    """COCO as downloaded: ``annotations/instances_val2017.json`` beside ``val2017/``."""
    for file in sorted((folder / 'annotations').glob('instances_*.json')):
        name = file.stem.removeprefix('instances_')
        for images in (folder / name, folder / 'images' / name):
            if images.is_dir():
                yield Layout(folder, images, coco=file)
                break


def _split_folders(folder: Path) -> Iterator[tuple[str, Layout]]:
    """``train/`` with images and annotations in it (Roboflow), or ``images/train`` (YOLO)."""
    names = _yolo_names(folder)
    for split in _SPLITS:
        coco = _coco_file(folder / split)
        inner, outer = folder / split / 'images', folder / 'images' / split
        if coco is not None:
            yield split, Layout(folder / split, _image_folder(folder / split), coco=coco)
        elif names is not None and inner.is_dir():
            yield split, Layout(folder, inner, yolo=inner.parent / 'labels', yolo_names=names)
        elif names is not None and outer.is_dir():
            yield split, Layout(folder, outer, yolo=folder / 'labels' / split, yolo_names=names)


def _plain(folder: Path) -> Layout:
    label_folders = [folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()]
    labels = next((path for path in label_folders if _has(path, '*.png')), None)
    yolo = next((path for path in label_folders if _has(path, '*.txt')), None)
    depth = folder / DEPTH_FOLDER
    layout = Layout(
        folder,
        _image_folder(folder),
        coco=_coco_file(folder),
        yolo=yolo if labels is None else None,
        yolo_names=_yolo_names(folder),
        labels=labels,
        depth=depth if depth.is_dir() else None,
        tracks=find_tracks(folder),
    )
    if layout.depth is None and is_tum(folder):
        note = (
            f'{folder / "depth"} is read as TUM RGB-D: depth in 1/{UNITS_PER_METRE:.0f} m, '
            'associated with the images by time'
        )
        layout = replace(
            layout,
            depth=folder / 'depth',
            units_per_metre=UNITS_PER_METRE,
            tum=True,
            notes=(note,),
        )
    return replace(layout, notes=(*layout.notes, *_unread(layout)))


def _image_folder(folder: Path) -> Path:
    names = (*IMAGE_FOLDERS, 'data') if (folder / 'labels.json').is_file() else IMAGE_FOLDERS
    return next((folder / name for name in names if (folder / name).is_dir()), folder)


def _coco_file(folder: Path) -> Path | None:
    """The annotation file of a folder: one of the usual names, or the only one in the format."""
    for name in _COCO_FILES:
        if (folder / name).is_file():
            return folder / name
    files = [*folder.glob('*.json'), *folder.glob('annotations/*.json')]
    # A folder of per-image JSON files is another format; reading thousands would take long.
    found = [file for file in files if is_coco_file(file)] if len(files) < 10 else []
    return found[0] if len(found) == 1 else None


def _yolo_names(folder: Path) -> Path | None:
    return next((folder / name for name in _YOLO_FILES if (folder / name).is_file()), None)


def _has(folder: Path, pattern: str) -> bool:
    return next(folder.rglob(pattern), None) is not None


def _unread(layout: Layout) -> Iterator[str]:
    """Sentences on ground truth that this reader does not know."""
    root = layout.root
    if _has(root / 'Annotations', '*.xml'):
        yield (
            f'{root / "Annotations"} has Pascal VOC annotations, which are not read; convert '
            f'them to COCO and save them as {INSTANCES_FILE}'
        )
    if layout.depth is None and _has(root / 'depth', '*'):
        yield (
            f'{root / "depth"} is not read as depth: expected 16-bit PNG files of millimetres in '
            f'{DEPTH_FOLDER}/, or TUM RGB-D (names that are times, or associations)'
        )
    for name in LABEL_FOLDERS:
        path = root / name
        if path.is_dir() and path not in (layout.labels, layout.yolo):
            yield f'{path} is not read as label images: it has no PNG file, or another comes first'
    if layout.coco is None:
        files = sorted({*root.glob('*.json'), *root.glob('annotations/*.json')})
        # Other JSON files hold poses, cameras and the like.
        for file in [file for file in files if _ANNOTATIONS.search(file.name.lower())][:1]:
            yield (
                f'{file} is not read as annotations: expected one file in COCO format, '
                f'for example {INSTANCES_FILE}'
            )
    stems = {re.sub(r'_mask$', '', Path(name).stem) for name in layout.list_images()[:1000]}
    for suffix in ('.xml', '.json', '.txt'):
        beside = [p for p in layout.images.glob(f'*{suffix}') if p.stem in stems]
        if beside:
            yield (
                f'{layout.images} has {suffix} annotations beside the images, which are not '
                f'read; convert them to COCO and save them as {root / INSTANCES_FILE}'
            )
