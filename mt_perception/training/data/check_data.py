# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Checks a recipe's data before the first step: files, class names, validation sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mt_perception.errors import ImageError, SourceError
from mt_perception.evaluation.datasets.annotations import check_aspect, inside
from mt_perception.evaluation.datasets.layout import find_layout
from mt_perception.evaluation.datasets.maps import read_label_map
from mt_perception.evaluation.datasets.taxonomy import ClassMap, is_unlabelled
from mt_perception.evaluation.datasets.truth_files import label_names, read_annotations
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.read_datasets import image_size
from mt_perception.training.data.samples import Sample
from mt_perception.training.recipe import Recipe, SetSpec

_LISTED = 5


def check_files(sets: Sequence[SampleSet]) -> Iterator[tuple[int, int]]:
    """Check every image, label and depth file of some sets; yield (done, total).

    Raises:
        SourceError: files are missing or damaged; the message lists the first ones.
    """
    total = sum(len(group.samples) for group in sets)
    problems: list[str] = []
    done = 0
    for group in sets:
        for sample in group.samples:
            problems += _problems(sample)
            done += 1
            yield done, total
    if problems:
        listed = '; '.join(problems[:_LISTED])
        more = f'; and {len(problems) - _LISTED} more' if len(problems) > _LISTED else ''
        raise SourceError(
            f'{len(problems)} files of the training data cannot be used: {listed}{more}; repair '
            'or remove them'
        )


def _problems(sample: Sample) -> list[str]:
    try:
        found = image_size(sample.image_path)
        check_aspect(found, sample.size, str(sample.image_path))
        if sample.label_path is not None:
            read_label_map(sample.label_path)
        sample.depth()
    except (SourceError, ImageError) as error:
        return [str(error)]
    return []


def class_report(recipe: Recipe, data: Path, classes: ClassMap) -> tuple[str, ...]:
    """Return sentences on how the names of every set map to the network's classes."""
    rows: list[str] = []
    for spec in recipe.sets:
        boxes, pixels, notes = _names(spec, data / spec.folder)
        if recipe.detection_labels and boxes and spec.kind == 'coco':
            rows += _detection_rows(spec.name, boxes, classes)
        if 'segmentation' in recipe.tasks and pixels:
            rows += _segmentation_rows(spec.name, pixels, classes)
        rows += [f'{spec.name}: {note}' for note in notes]
    return tuple(rows)


def _names(spec: SetSpec, folder: Path) -> tuple[list[str], list[str], tuple[str, ...]]:
    """Return the names of boxes and pixels of a set, and notes of its reader."""
    layout = find_layout(folder, spec.split if _has_splits(folder, spec.split) else None)
    if spec.annotations:
        layout = replace(layout, coco=inside(folder, spec.annotations))
    annotations = read_annotations(layout) if spec.kind in ('coco', 'regions') else None
    boxes = [] if annotations is None else list(annotations.labels)
    pixels = list(boxes)
    if spec.kind != 'regions' and layout.labels is not None:
        if spec.names is not None:
            pixels += spec.names.values()
        elif spec.kind != 'rgbd':
            pixels += label_names(layout).values()
    notes = () if annotations is None else annotations.skipped.sentences()
    return boxes, list(dict.fromkeys(pixels)), (*layout.notes, *notes)


def _has_splits(folder: Path, split: str | None) -> bool:
    try:
        return split is not None and find_layout(folder, split).has_split
    except SourceError:
        return False


def _detection_rows(name: str, names: Sequence[str], classes: ClassMap) -> list[str]:
    found = {n: classes.detection_id(n) for n in names}
    renamed = [
        f'{n} → {classes.detection[i]}'
        for n, i in found.items()
        if i >= 0 and classes.detection[i] != n
    ]
    missing = [n for n, i in found.items() if i < 0]
    rows = [
        f'{name}: {len(names) - len(missing)} of {len(names)} names are classes of the detector'
    ]
    rows[0] += f', renamed: {", ".join(renamed)}' if renamed else ''
    if missing:
        rows.append(f'{name}: not classes of the detector, left out: {", ".join(missing)}')
    return rows


def _segmentation_rows(name: str, names: Sequence[str], classes: ClassMap) -> list[str]:
    named = [n for n in names if not is_unlabelled(n)]
    found = {n: classes.taxonomy.find(n, classes.segmentation) for n in named}
    groups: dict[str, list[str]] = {}
    for n, index in found.items():
        if index is not None:
            groups.setdefault(classes.segmentation[index], []).append(n)
    mapped = '; '.join(f'{", ".join(members)} → {label}' for label, members in groups.items())
    rows = [f'{name}: segmentation classes: {mapped or "none"}']
    missing = [n for n, index in found.items() if index is None]
    if missing:
        rest = classes.taxonomy.rest
        fate = f'train as {rest!r}' if rest in classes.segmentation else 'are unlabelled'
        rows.append(f'{name}: names outside the taxonomy, which {fate}: {", ".join(missing)}')
    return rows
