# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe: everything that decides how a network is trained, read strictly from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import yaml

from mt_perception.errors import ModelError

T = TypeVar('T')


@dataclass(frozen=True)
class SetSpec:
    """One data set of a recipe.

    Args:
        name: for the log.
        kind: coco (boxes, perhaps pixels), regions (boxes as weak pixels) or rgbd.
        folder: inside the data folder.
        weight: how often its images are drawn, relative to the other sets.
        split: coco: keep images with this `coco_split`, or, where there is none, train.
        pixels: coco: keep images whose pixels come from "panoptic" images or "polygons".
        focal_px: rgbd: focal length in pixels of the stored images.
        names: rgbd: class names of the label images' ids.
        ground: rgbd: label the ground and the walls, which the depth images show.
        voc_labels: fill unlabelled pixels with the VOC teacher's opinion.
        relative_depth: ask the relative depth teacher.
    """

    name: str
    kind: str
    folder: str
    weight: float
    split: str | None = None
    pixels: str | None = None
    focal_px: float | None = None
    names: Mapping[int, str] | None = None
    ground: bool = False
    voc_labels: bool = False
    relative_depth: bool = False


@dataclass(frozen=True)
class Weights:
    """Weights of the losses; a loss whose weight is zero is not computed."""

    detection: float = 0.0
    distillation: float = 0.0
    segmentation: float = 0.0
    self_training: float = 0.0
    depth: float = 0.0
    depth_gradient: float = 0.0
    relative_depth: float = 0.0
    sparsity: float = 0.0


@dataclass(frozen=True)
class Phase:
    """A stretch of training with its own losses and learning rates.

    Args:
        name: for the log.
        steps: number of steps.
        batch_size: images per step.
        weights: of the losses.
        learning_rates: peak rate of each part (trunk, detection, segmentation, depth) or part
            of a part: the longest beginning of a weight's name counts, 0 freezes.
        relative_rates: the same, as a share of each tensor's own size; for parts that come from
            a checkpoint. A part that neither map names is frozen.
        warmup: steps over which the rates rise.
    """

    name: str
    steps: int
    batch_size: int
    weights: Weights
    learning_rates: Mapping[str, float]
    relative_rates: Mapping[str, float] = field(default_factory=dict)
    warmup: int = 100


@dataclass(frozen=True)
class Structure:
    """What the tasks share.

    Args:
        kind: hard_shared (one trunk), antler (the tree that the tasks' similarity suggests) or
            interrogate (gates on every channel). The last two start from single-task nets, which
            are trained by the recipe's phases first.
        phases: antler, interrogate: how the structure itself is trained.
        variety: antler: from 0, the cheapest tree, to 1, tasks share with their like only.
        images: antler: how many images the similarity is measured on.
        targets: interrogate: task → τ, its own share of the gated layers' compute.
    """

    kind: str = 'hard_shared'
    phases: tuple[Phase, ...] = ()
    variety: float = 0.5
    images: int = 64
    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """A whole recipe.

    Args:
        network: its name in `network.multitask`.
        initial_weights: YOLOX checkpoint inside the data folder.
        detection_labels: annotation file inside the data folder whose categories, in order, are
            the detector's classes.
        voc_teacher: TensorFlow Lite file inside the data folder.
        relative_depth_teacher: ONNX file inside the data folder.
        seed: of everything random.
        threads: for torch; more than one needs OMP_WAIT_POLICY=PASSIVE.
        precision: float32 or bfloat16 (autocast, forward only).
        canvases: sizes (height, width) of the batches, drawn evenly.
        sets: the data.
        phases: one after the other.
        structure: what the tasks share.
        taxonomy: a file of segmentation classes beside the recipe; else the package's own.
        ema_decay: of the averaged weights, which are the ones that are validated and exported.
        weight_decay: of AdamW.
        confidence: from which probability self-training believes the averaged weights.
        validate_every: steps.
        checkpoint_every: steps.
    """

    network: str
    initial_weights: str
    detection_labels: str
    voc_teacher: str
    relative_depth_teacher: str
    seed: int
    threads: int
    precision: str
    canvases: tuple[tuple[int, int], ...]
    sets: tuple[SetSpec, ...]
    phases: tuple[Phase, ...]
    structure: Structure = Structure()
    taxonomy: str | None = None
    ema_decay: float = 0.999
    weight_decay: float = 1e-4
    confidence: float = 0.8
    validate_every: int = 500
    checkpoint_every: int = 200

    @property
    def steps(self) -> int:
        """The number of steps of all phases."""
        return sum(phase.steps for phase in self.phases)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ModelError: a field is missing, unknown or of the wrong kind; the message names it.
    """
    data = yaml.safe_load(path.read_text(encoding='utf-8'))
    root = _mapping(data, str(path))
    root['sets'] = tuple(_build(SetSpec, s, 'sets') for s in _list(root, 'sets'))
    root['phases'] = tuple(_phase(p) for p in _list(root, 'phases'))
    root['canvases'] = tuple((int(h), int(w)) for h, w in _list(root, 'canvases'))
    root['structure'] = _structure(root.get('structure', {}))
    recipe = _build(Recipe, root, str(path))
    if any(n % 32 for canvas in recipe.canvases for n in canvas):
        raise ModelError(f'{path}: canvases must be multiples of 32')
    if recipe.precision not in ('float32', 'bfloat16'):
        raise ModelError(f'{path}: precision is float32 or bfloat16, not {recipe.precision!r}')
    for spec in recipe.sets:
        if spec.kind not in ('coco', 'regions', 'rgbd'):
            raise ModelError(f'{path}: a set is coco, regions or rgbd, not {spec.kind!r}')
    return recipe


def _structure(data: Any) -> Structure:
    values = _mapping(data, 'structure')
    values['phases'] = tuple(_phase(p) for p in values.get('phases', ()))
    structure = _build(Structure, values, 'structure')
    if structure.kind not in ('hard_shared', 'antler', 'interrogate'):
        raise ModelError(
            f'structure.kind is hard_shared, antler or interrogate, not {structure.kind!r}'
        )
    if structure.kind != 'hard_shared' and not structure.phases:
        raise ModelError(f'structure.phases must say how {structure.kind} is trained')
    return structure


def _phase(data: Any) -> Phase:
    values = _mapping(data, 'phases')
    values['weights'] = _build(Weights, values.get('weights', {}), 'phases.weights')
    return _build(Phase, values, 'phases')


def _build(kind: type[T], data: Any, where: str) -> T:
    values = _mapping(data, where)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    missing = sorted(
        n for n, f in known.items()
        if n not in values and f.default is MISSING and f.default_factory is MISSING
    )  # fmt: skip
    if unknown or missing:
        raise ModelError(f'{where}: unknown fields {unknown}, missing fields {missing}')
    return kind(**values)


def _mapping(data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ModelError(f'{where}: expected a map, found {type(data).__name__}')
    return dict(data)


def _list(root: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(root.get(key), list):
        raise ModelError(f'{key}: expected a list')
    return list(root[key])
