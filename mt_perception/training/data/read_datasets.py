# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads data sets as training samples, with the file readers of evaluation.

What is found where in a folder, and how a file is read, is in `evaluation.datasets`, so that
training and evaluation agree on every image, box, class id and depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ImageError, SourceError
from mt_perception.evaluation.datasets.annotations import (
    AnnotatedImage,
    Annotation,
    AnnotationSet,
    inside,
    key_of,
)
from mt_perception.evaluation.datasets.coco import read_coco_file
from mt_perception.evaluation.datasets.dataset_folder import (
    HELD_OUT,
    INTRINSICS_FILE,
    TRAIN,
    held_out,
    read_intrinsics,
)
from mt_perception.evaluation.datasets.layout import Layout, find_layout
from mt_perception.evaluation.datasets.recording import (
    META_FILE,
    Recording,
    read_recording,
)
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_class_names
from mt_perception.evaluation.datasets.truth_files import find_map, read_annotations
from mt_perception.evaluation.datasets.tum import associations
from mt_perception.image.encodings import MAX_PIXELS
from mt_perception.image.headers import read_header
from mt_perception.training.data.label_images import (
    fill_polygons,
    label_room,
    label_table,
    outlined_areas,
    paint_boxes,
    read_labels,
)
from mt_perception.training.data.samples import Boxes, NamedBox, Sample
from mt_perception.types import UNLABELLED, Intrinsics

ALL = 'all'
_TRANSPOSED = range(5, 9)  # EXIF orientations that swap height and width


Kept = Callable[[str], bool]
"""Whether to keep the image of a key, its path without the suffix."""


def everything(key: str) -> bool:
    """Keep every image."""
    return True


@dataclass(frozen=True)
class ReadOptions:
    """Which images and labels of a folder become samples.

    Args:
        split: name of a split; train or held_out if the annotations have no splits; None or
            "all" for all images.
        names: class name of each id in the label images; None reads the folder's YAML file.
        other: class of ids without a name in `names`; None leaves them unlabelled.
        focal_px: focal length in pixels of the stored images.
        ground: label ground and walls as planes in the depth images.
        with_depth: read depth images; the focal length is `focal_px`, or that of meta.json or
            camera-intrinsics.txt in the folder.
        kept: whether to keep the image of a key, its path without the suffix.
    """

    split: str | None = None
    names: Mapping[int, str] | None = None
    other: str | None = None
    focal_px: float | None = None
    ground: bool = False
    with_depth: bool = False
    kept: Kept = everything


def detector_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of an annotation file, COCO (JSON) or YOLO (YAML), in its order."""
    is_yolo = path.suffix.lower() in ('.yaml', '.yml')
    names = tuple(read_class_names(path).values()) if is_yolo else read_coco_file(path).labels
    if not 1 <= len(names) <= UNLABELLED:
        raise SourceError(f'{path} has {len(names)} classes; a detector has 1 to {UNLABELLED}')
    return names


def read_coco(
    folder: Path,
    classes: ClassMap,
    split: str | None = None,
    pixels: str | None = None,
    annotations: str = '',
    kept: Kept = everything,
) -> list[Sample]:
    """Read a folder with boxes (COCO, YOLO) and, where present, label images.

    Labels are complete if the annotations have every class of the detector. Pixels come from the
    label image if there is one, else from polygons, which leave other pixels unlabelled.

    Args:
        folder: the data set.
        classes: the network's classes.
        split: see `ReadOptions`.
        pixels: keep only images whose pixels come from "panoptic" images or "polygons".
        annotations: name of a COCO file in the folder; empty for the usual ones.
        kept: see `ReadOptions`.

    Raises:
        SourceError: the folder has no annotations, or a file cannot be read.
    """
    layout = _layout(folder, split)
    if annotations:
        layout = replace(layout, coco=inside(folder, annotations))
    found = _annotations(layout)
    complete = classes.exhaustive(found.labels) == frozenset(range(len(classes.detection)))
    table = label_table(layout, classes, None, None) if layout.labels is not None else None
    samples = []
    for image in _of_split(found.images, layout, split):
        if not kept(key_of(image.file_name)):
            continue
        path = inside(layout.images, image.file_name)
        size = _size_of(image, path)
        objects = image.in_pixels(size)
        label_path = None if table is None else find_map(layout.labels, key_of(image.file_name))
        outlines = [a for a in objects if a.polygons and not a.crowd]
        semantic: Callable[[], NDArray[np.uint8]] | None = None
        source = None
        if table is not None and label_path is not None:
            semantic, source = partial(read_labels, label_path, table, size), 'panoptic'
        elif outlines:
            semantic, source = (
                partial(fill_polygons, size, outlined_areas(outlines, classes)),
                'polygons',
            )
        if pixels is None or pixels == source:
            name = sample_name(folder, image.file_name)
            boxes = _boxes(objects, classes, complete)
            named = _named_boxes(objects)
            samples.append(Sample(name, path, size, boxes, semantic, label_path, objects=named))
    return samples


def read_regions(
    folder: Path, classes: ClassMap, kept: Kept = everything, shrink: float = 0.15
) -> list[Sample]:
    """Read boxes of classes that the detector does not have (doors) as weak pixel labels.

    The inside of a box, shrunk on each side, has the box's class; intersections of boxes of
    different classes are unlabelled. Classes outside the taxonomy are left out.
    """
    layout = find_layout(folder)
    samples = []
    for image in _annotations(layout).images:
        if not kept(key_of(image.file_name)):
            continue
        path = inside(layout.images, image.file_name)
        size = _size_of(image, path)
        objects = image.in_pixels(size)
        regions = [
            (classes.segmentation_id(a.label), a.box)
            for a in objects
            if classes.taxonomy.gather(a.label) is not None
        ]
        semantic = partial(paint_boxes, size, regions, shrink) if regions else None
        named = _named_boxes(objects)
        name = sample_name(folder, image.file_name)
        samples.append(Sample(name, path, size, semantic=semantic, objects=named))
    return samples


def read_maps(folder: Path, classes: ClassMap, options: ReadOptions) -> list[Sample]:
    """Read a folder of images with label images, depth images, or both.

    Args:
        folder: the data set; see `evaluation.datasets.layout`.
        classes: the network's classes.
        options: with `with_depth` every image needs a depth image; else the set needs labels.

    Raises:
        SourceError: the folder has no images, or lacks the labels that the options ask for.
    """
    layout = _layout(folder, options.split)
    names = layout.list_images()
    if not names:
        raise SourceError(f'{layout.images} has no image; expected images in {folder}/images')
    keys = associations(layout.root) if layout.tum else None
    table = None
    if layout.labels is not None and (not options.with_depth or options.names is not None):
        table = label_table(layout, classes, options.names, options.other)
    cameras = read_recording(folder), read_intrinsics(folder / INTRINSICS_FILE)
    focal_of = partial(_focal_px, folder, cameras, focal_px=options.focal_px)
    samples = [
        _map_sample(folder, layout, name, table, keys, options, classes, focal_of)
        for index, name in enumerate(names)
        if (layout.has_split or _wanted(index, options.split)) and options.kept(key_of(name))
    ]
    if not options.with_depth and not any(sample.semantic for sample in samples):
        raise SourceError(
            f'{layout.labels or folder} has no label image with the name of an image in '
            f'{layout.images}; expected PNG files in {folder}/semantic'
        )
    return samples


def read_segmentation(
    folder: Path,
    classes: ClassMap,
    names: Mapping[int, str] | None = None,
    part: str = TRAIN,
    kept: Kept = everything,
) -> list[Sample]:
    """Read a folder of images and label images; see `ReadOptions`."""
    return read_maps(folder, classes, ReadOptions(part, names, kept=kept))


def read_rgbd(
    folder: Path,
    classes: ClassMap,
    focal_px: float | None = None,
    part: str = TRAIN,
    names: Mapping[int, str] | None = None,
    ground: bool = False,
    kept: Kept = everything,
) -> list[Sample]:
    """Read a folder of images and depth images, with label images if `names` is given."""
    options = ReadOptions(part, names, 'object', focal_px, ground, True, kept)
    return read_maps(folder, classes, options)


def sample_name(folder: Path, file_name: str) -> str:
    """Return a sample's name: the folder's name and the image's path without suffix."""
    return f'{folder.name}_{key_of(file_name).replace("/", "_")}'


def _map_sample(
    folder: Path,
    layout: Layout,
    name: str,
    table: NDArray[np.uint8] | None,
    keys: Mapping[str, str] | None,
    options: ReadOptions,
    classes: ClassMap,
    focal_of: Callable[[str, tuple[int, int]], float],
) -> Sample:
    path, key = layout.images / name, key_of(name)
    size = image_size(path)
    label_path = None if table is None else find_map(layout.labels, key)
    semantic: Callable[[], NDArray[np.uint8]] | None = None
    if table is not None and label_path is not None:
        semantic = partial(read_labels, label_path, table, size)
    depth_path = focal_px = None
    if options.with_depth:
        focal_px = focal_of(key, size)
        depth_key = key if keys is None else keys.get(key)
        depth_path = None if depth_key is None else find_map(layout.depth, depth_key)
        if depth_path is None and keys is None:
            raise SourceError(
                f'{layout.depth or folder / "depth_mm"} has no depth image of {name}; expected '
                f'{PurePosixPath(key).name}.png with 16 bits, in millimetres'
            )
        if depth_path is not None and semantic is None and options.ground:
            ids = (classes.segmentation_id('ground'), classes.segmentation_id('wall'))
            semantic = partial(
                label_room, depth_path, layout.units_per_metre, focal_px / size[1], ids
            )
    return Sample(
        sample_name(folder, name),
        path,
        size,
        semantic=semantic,
        label_path=label_path,
        depth_path=depth_path,
        depth_units=layout.units_per_metre,
        focal_px=focal_px,
    )


def _focal_px(
    folder: Path,
    cameras: tuple[Recording | None, Intrinsics | None],
    key: str,
    size: tuple[int, int],
    focal_px: float | None,
) -> float:
    """Return the focal length of an image: of the recipe, else of the folder's camera.

    Raises:
        SourceError: it is unknown.
    """
    if focal_px is not None:
        return focal_px
    recording, matrix = cameras
    camera = None if recording is None else recording.intrinsics(key, size)
    if camera is not None:
        return (camera.fx + camera.fy) / 2
    if matrix is not None:
        return matrix.fx * size[1] / matrix.width
    raise SourceError(
        f'{folder}: the focal length of {key} is unknown; expected focal_px in the recipe, fx and '
        f'fy in {META_FILE}, or {INTRINSICS_FILE}'
    )


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image file, upright, from its header.

    Raises:
        SourceError: the file cannot be read or is not an image.
    """
    try:
        header = read_header(path.read_bytes())
    except OSError as error:
        raise SourceError(f'{path} cannot be read: {error.strerror}') from error
    except ImageError as error:
        raise SourceError(f'{path}: {error}') from error
    if header is None:
        raise SourceError(f'{path} is not an image of a known format')
    if header.orientation in _TRANSPOSED:
        return header.width, header.height
    return header.height, header.width


def _layout(folder: Path, split: str | None) -> Layout:
    """Find the layout; a split that is no folder of its own selects images of one folder."""
    try:
        return find_layout(folder, split)
    except SourceError:
        if split not in (TRAIN, HELD_OUT, ALL):
            raise
        return find_layout(folder)


def _annotations(layout: Layout) -> AnnotationSet:
    found = read_annotations(layout)
    if found is None:
        raise SourceError(
            f'{layout.root} has no boxes; expected instances.json in COCO format, or YOLO labels '
            'with data.yaml'
        )
    return found


def _of_split(
    images: Sequence[AnnotatedImage], layout: Layout, split: str | None
) -> list[AnnotatedImage]:
    if split in (None, ALL) or layout.has_split:
        return list(images)
    if any(image.split for image in images):
        return [image for image in images if image.split == split]
    order = {name: i for i, name in enumerate(sorted(image.file_name for image in images))}
    return [image for image in images if _wanted(order[image.file_name], split)]


def _wanted(index: int, split: str | None) -> bool:
    """Return whether the image at a sorted index belongs to train or held_out."""
    if split in (None, ALL):
        return True
    return held_out(index) if split == HELD_OUT else split == TRAIN and not held_out(index)


def _size_of(image: AnnotatedImage, path: Path) -> tuple[int, int]:
    if image.size is None or image.size == (1, 1):
        return image_size(path)
    if image.size[0] * image.size[1] > MAX_PIXELS:
        raise SourceError(f'{path} has {image.size} pixels in its annotation; too many')
    return image.size


def _named_boxes(objects: Sequence[Annotation]) -> tuple[NamedBox, ...]:
    found = []
    for a in objects:
        x1, y1, x2, y2 = a.box.tolist()
        if not a.crowd:
            found.append(NamedBox(a.label, x1, y1, x2 - x1, y2 - y1))
    return tuple(found)


def _boxes(objects: Sequence[Annotation], classes: ClassMap, complete: bool) -> Boxes:
    known = [(classes.detection_id(a.label), a.box) for a in objects if not a.crowd]
    known = [(index, box) for index, box in known if index >= 0]
    corners = np.array([box for _, box in known], np.float32).reshape(-1, 4)
    return Boxes(corners, np.array([index for index, _ in known], np.int64), complete)
