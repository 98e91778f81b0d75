# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe: everything that determines how a network is trained, read strictly from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mt_perception.data_files import read_yaml
from mt_perception.errors import ModelError
from mt_perception.training.distillation.pixel_teacher_spec import (
    PixelTeacherSpec,
    read_pixel_teacher,
)
from mt_perception.training.gating.recipe import Gating, read_gating
from mt_perception.training.recipe_fields import build, list_of, mapping, number
from mt_perception.training.schedules.phases import Phase, Weights, read_phase

KINDS = ('coco', 'regions', 'rgbd', 'segmentation')


@dataclass(frozen=True)
class SetSpec:
    """One data set of a recipe.

    Args:
        name: for the log.
        kind: coco (boxes, perhaps pixels), regions (boxes as weak pixels), rgbd (depth, perhaps
            pixels) or segmentation (pixels).
        folder: inside the data folder.
        weight: how often its images are drawn, relative to the other sets.
        split: coco: keep images with this `coco_split`, or, where there is none, train.
        pixels: coco: keep images whose pixels come from "panoptic" images or "polygons".
        focal_px: rgbd: focal length in pixels of the stored images.
        names: rgbd, segmentation: class names of the label images' ids; segmentation: without them
            the one YAML file of the folder says them.
        ground: rgbd: label the ground and the walls, which the depth images show.
        voc_labels: fill unlabelled pixels with the VOC teacher's opinion.
        relative_depth: ask the relative depth teacher.
        opinions: ask the pixel teacher about what is not labelled.
        complete: regions: classes of which every instance has a box; where no box of the class
            is, the pixel teacher's opinion of it does not count.
        balanced: draw images with rare classes more often.
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
    opinions: bool = False
    complete: tuple[str, ...] = ()
    balanced: bool = False


def read_set(data: Any) -> SetSpec:
    """Read one set of a recipe."""
    spec = build(SetSpec, data, 'sets')
    if spec.kind not in KINDS:
        raise ModelError(f'set {spec.name}: a set is {", ".join(KINDS)}, not {spec.kind!r}')
    return spec


__all__ = ['Balancing', 'Phase', 'Recipe', 'SetSpec', 'Structure', 'Weights', 'read_recipe']


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
class Balancing:
    """How the tasks' losses are weighed against each other, beside the phases' own weights.

    Args:
        kind: fixed, uncertainty (arXiv 1705.07115) or gradnorm (arXiv 1711.02257).
        rate: uncertainty: learning rate of the variances; gradnorm: of the weights.
        alpha: gradnorm: how much more a task is pulled that lags behind.
    """

    kind: str = 'fixed'
    rate: float = 0.025
    alpha: float = 1.5


@dataclass(frozen=True)
class Recipe:
    """A whole recipe.

    Args:
        network: its name in `network.multitask`.
        detection_labels: annotation file inside the data folder whose categories, in order, are
            the detector's classes; its folder's images measure detection and segmentation.
        seed: of everything random.
        threads: for torch; more than one needs OMP_WAIT_POLICY=PASSIVE.
        device: auto (a GPU where there is one), cpu or cuda.
        precision: float32 or bfloat16 (autocast, forward only; bfloat16 has float32's range, so
            the losses need no scaling).
        canvases: sizes (height, width) of the batches, drawn evenly.
        sets: the data.
        phases: one after the other.
        initial_weights: YOLOX checkpoint inside the data folder; random where it is empty.
        voc_teacher: TensorFlow Lite file inside the data folder, for sets with `voc_labels`.
        relative_depth_teacher: ONNX file inside the data folder, for sets with
            `relative_depth`.
        validation_split: the split that measures; "held_out" where the file has no splits.
        structure: what the tasks share.
        gating: paths and gates, trained beside a finished run.
        balancing: of the tasks' losses.
        pixel_teacher: who labels the pixels of sets with `opinions`; needs a run to start from.
        classes_from: the set whose pixels decide the classes' weights; all sets where it is empty.
        taxonomy: a file of segmentation classes beside the recipe; else the package's own.
        ema_decay: of the averaged weights, which are the ones that are validated and exported.
        weight_decay: of AdamW.
        confidence: from which probability self-training believes the averaged weights.
        validate_every: steps.
        checkpoint_every: steps.
    """

    network: str
    detection_labels: str
    seed: int
    threads: int
    precision: str
    canvases: tuple[tuple[int, int], ...]
    sets: tuple[SetSpec, ...]
    phases: tuple[Phase, ...]
    initial_weights: str = ''
    voc_teacher: str = ''
    relative_depth_teacher: str = ''
    validation_split: str = 'val2017'
    structure: Structure = Structure()
    gating: Gating | None = None
    balancing: Balancing = Balancing()
    pixel_teacher: PixelTeacherSpec | None = None
    classes_from: str = ''
    device: str = 'auto'
    taxonomy: str | None = None
    ema_decay: float = 0.999
    weight_decay: float = 1e-4
    confidence: float = 0.8
    validate_every: int = 500
    checkpoint_every: int = 200

    @property
    def steps(self) -> int:
        """The number of steps of all phases, of which some may end early."""
        return sum(phase.steps for phase in self.phases)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ModelError: a field is missing, unknown or of the wrong kind; the message names it.
    """
    root = mapping(read_yaml(path), str(path))
    root['sets'] = tuple(read_set(s) for s in list_of(root, 'sets'))
    root['phases'] = tuple(read_phase(p) for p in list_of(root, 'phases'))
    root['canvases'] = tuple((int(h), int(w)) for h, w in list_of(root, 'canvases'))
    root['structure'] = _structure(root.get('structure', {}))
    if root.get('gating') is not None:
        root['gating'] = read_gating(root['gating'])
    root['balancing'] = _balancing(root.get('balancing', {}))
    if root.get('pixel_teacher') is not None:
        root['pixel_teacher'] = read_pixel_teacher(root['pixel_teacher'])
    recipe = build(Recipe, root, str(path))
    if recipe.device not in ('auto', 'cpu', 'cuda'):
        raise ModelError(f'{path}: device is auto, cpu or cuda, not {recipe.device!r}')
    teachers = {'voc_labels': 'voc_teacher', 'relative_depth': 'relative_depth_teacher'}
    for wants, named in teachers.items():
        asking = [spec.name for spec in recipe.sets if getattr(spec, wants)]
        if asking and not getattr(recipe, named):
            raise ModelError(f'{path}: sets {asking} want {wants}: name a {named}')
    names = {spec.name for spec in recipe.sets}
    weights = recipe.pixel_teacher.weights if recipe.pixel_teacher is not None else ()
    unknown = sorted({*weights, *filter(None, (recipe.classes_from,))} - names)
    if unknown:
        raise ModelError(f'{path}: there are no sets called {unknown}; there are {sorted(names)}')
    if any(n % 32 for canvas in recipe.canvases for n in canvas):
        raise ModelError(f'{path}: canvases must be multiples of 32')
    if recipe.precision not in ('float32', 'bfloat16'):
        raise ModelError(f'{path}: precision is float32 or bfloat16, not {recipe.precision!r}')
    return recipe


def _structure(data: Any) -> Structure:
    values = mapping(data, 'structure')
    values['phases'] = tuple(read_phase(p) for p in values.get('phases', ()))
    structure = build(Structure, values, 'structure')
    if structure.kind not in ('hard_shared', 'antler', 'interrogate'):
        raise ModelError(
            f'structure.kind is hard_shared, antler or interrogate, not {structure.kind!r}'
        )
    if structure.kind != 'hard_shared' and not structure.phases:
        raise ModelError(f'structure.phases must say how {structure.kind} is trained')
    return structure


def _balancing(data: Any) -> Balancing:
    balancing = build(Balancing, data, 'balancing')
    if balancing.kind not in ('fixed', 'uncertainty', 'gradnorm'):
        raise ModelError(
            f'balancing.kind is fixed, uncertainty or gradnorm, not {balancing.kind!r}'
        )
    number(balancing.rate, 'balancing.rate')
    number(balancing.alpha, 'balancing.alpha')
    return balancing
