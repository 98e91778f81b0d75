# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest of a model folder: what a network offers, read strictly into frozen data.

``manifest.yaml`` is the one contract between training and running. Everything in it is checked
when it is read, so that code behind this file never has to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from mt_perception.errors import ModelError
from mt_perception.image.letterbox import Letterbox, fit
from mt_perception.model.blocks import BlockFile, read_blocks
from mt_perception.model.fields import Fields, is_name, names, strings
from mt_perception.model.paths import ONLY_FULL, Paths, parse_paths
from mt_perception.model.split import Cut, parse_cut
from mt_perception.model.task_graph import TaskGraph
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, UNLABELLED

FORMAT = 1
"""Version of the manifest's own format; a newer one is refused, not guessed at."""

MAX_BYTES = 1 << 20

_SLACK = 0.04
"""By how much a lighter path's picture may be smaller than the path's size."""

TASK_OUTPUTS: Mapping[str, frozenset[str]] = {
    DETECTION: frozenset({'boxes', 'scores', 'class_ids'}),
    SEGMENTATION: frozenset({'class_ids'}),
    DEPTH: frozenset({'depth_per_focal'}),
}
"""Kind of task → the tensors that its post-processing reads.

detection: ``boxes`` float32 (1, N, 4) x0 y0 x1 y1 in network pixels, ``scores`` float32 (1, N),
``class_ids`` int64 (1, N). segmentation: ``class_ids`` uint8 (1, h, w). depth:
``depth_per_focal`` float32 (1, h, w), metres along the optical axis divided by the focal length
in network pixels.
"""


@dataclass(frozen=True)
class InputSpec:
    """The network's input: uint8 (1, H, W, 3) BGR, any H and W that are multiples of ``multiple``.

    Attributes:
        size: Default long side in pixels.
        min_size: Smallest long side that the model was checked at.
        max_size: Largest long side that the model was checked at.
        multiple: Height and width are multiples of this (the coarsest stride).
        pad_value: Grey level of the letterbox border.
    """

    size: int
    min_size: int
    max_size: int
    multiple: int
    pad_value: int

    def side(self, long_side: int, scale: float) -> int:
        """A long side scaled down, as far as the network and its multiple go."""
        scaled = round(long_side * scale / self.multiple) * self.multiple
        return min(long_side, max(self.min_size, scaled))

    def letterbox(
        self, image_size: tuple[int, int], long_side: int, scale: float = 1.0
    ) -> Letterbox:
        """The letterbox of an image on a path.

        Lighter paths need not have exactly their size, and so never pay a row of the coarsest
        stride for a few pixels: 352x264 becomes 341x256.

        Args:
            image_size: (height, width) of the image.
            long_side: Of the network's input on the full path.
            scale: Of the path.
        """
        side = self.side(long_side, scale)
        return fit(image_size, side, self.multiple, _SLACK if side < long_side else 0.0)


@dataclass(frozen=True)
class TaskSpec:
    """One task of the model.

    Attributes:
        name: Unique in the model; the task called like a kind is the main one of that kind.
        kind: ``detection``, ``segmentation`` or ``depth``: which post-processing it gets.
        outputs: What post-processing reads (see TASK_OUTPUTS) → tensor of the graph.
        labels: Class names by class id; empty for depth.
    """

    name: str
    kind: str
    outputs: Mapping[str, str]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Accuracy:
    """One measured figure of the model, and what it was measured on."""

    task: str
    metric: str
    value: float
    data: str


@dataclass(frozen=True)
class Manifest:
    """A whole manifest.

    Attributes:
        name: Name of the model.
        version: Version of the weights.
        licence: SPDX identifier of the weights' licence.
        description: One sentence.
        input: The network's input.
        reference_size: (height, width) at which the blocks' MACs are counted.
        files: Block name → its file; those of variants and of the policy too.
        graph: The blocks and the tasks they serve.
        tasks: Task name → task.
        accuracy: Measured figures.
        paths: The ways through the graph, and the policy that chooses among them.
        cut: Where it may be cut for a remote host; None where it may not.
    """

    name: str
    version: str
    licence: str
    description: str
    input: InputSpec
    reference_size: tuple[int, int]
    files: Mapping[str, BlockFile]
    graph: TaskGraph
    tasks: Mapping[str, TaskSpec]
    accuracy: tuple[Accuracy, ...]
    paths: Paths = ONLY_FULL
    cut: Cut | None = None

    def macs_at(self, macs: int, size: tuple[int, int]) -> int:
        """Scale MACs from the reference size to a network input of (height, width) pixels.

        Exact for convolutions, because sizes are multiples of the coarsest stride.
        """
        height, width = self.reference_size
        return round(macs * (size[0] * size[1]) / (height * width))


def parse_manifest(text: str) -> Manifest:
    """Read a manifest.

    Raises:
        ModelError: It is no YAML, has another format version, or a field is missing, unknown or
            out of range; the message names the field.
    """
    if len(text) > MAX_BYTES:
        raise ModelError(f'manifest has {len(text)} characters; at most {MAX_BYTES} are read')
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ModelError(f'manifest is not valid YAML: {error}') from error
    root = Fields(data, 'manifest')
    version = root.take('format', int)
    if version != FORMAT:
        raise ModelError(
            f'manifest format is {version}, this mt_perception reads {FORMAT}; '
            'export the model again or install the matching version'
        )
    blocks, files = read_blocks(root.take('blocks', dict))
    tasks = _tasks(root.take('tasks', dict))
    graph = TaskGraph(blocks, {task.name: task.outputs.values() for task in tasks})
    paths = parse_paths(root, graph)
    manifest = Manifest(
        name=root.take('name', str, is_name),
        version=root.take('version', str, bool),
        licence=root.take('licence', str, bool),
        description=root.take('description', str),
        input=_input(root.take('input', dict)),
        reference_size=_size(root.take('reference_size', list)),
        files={**files, **paths.files},
        graph=graph,
        tasks={task.name: task for task in tasks},
        accuracy=tuple(_accuracy(row, i) for i, row in enumerate(root.take('accuracy', list))),
        paths=paths,
        cut=parse_cut(root.take_or('cut', {}), {task.name: task.outputs for task in tasks}),
    )
    root.finish()
    return manifest


def _tasks(data: Mapping[object, object]) -> list[TaskSpec]:
    tasks = []
    for name, value in data.items():
        where = f'manifest.tasks.{name}'
        # A task's name becomes part of topic names.
        if not isinstance(name, str) or not re.fullmatch('[a-z][a-z0-9_]{0,31}', name):
            raise ModelError(f'{where}: a task name has lower-case letters, digits and "_"')
        fields = Fields(value, where)
        kind: str = fields.take('kind', str)
        if kind not in TASK_OUTPUTS or (name in TASK_OUTPUTS and name != kind):
            kinds = ', '.join(sorted(TASK_OUTPUTS))
            raise ModelError(f'{where}.kind is {kind!r:.60}; kinds are {kinds}')
        outputs = strings(fields.take('outputs', dict), f'{where}.outputs')
        if set(outputs) != TASK_OUTPUTS[kind]:
            expected = ', '.join(sorted(TASK_OUTPUTS[kind]))
            raise ModelError(f'{where}.outputs must name exactly: {expected}')
        labels = names(fields.take('labels', list), f'{where}.labels')
        if bool(labels) == (kind == DEPTH) or len(labels) > UNLABELLED:
            raise ModelError(f'{where}.labels: depth has none, other tasks 1 to {UNLABELLED}')
        fields.finish()
        tasks.append(TaskSpec(name, kind, outputs, labels))
    if not tasks:
        raise ModelError('manifest.tasks is empty; a model serves at least one task')
    return tasks


def _input(data: Mapping[object, object]) -> InputSpec:
    fields = Fields(data, 'manifest.input')
    spec = InputSpec(
        size=fields.take('size', int),
        min_size=fields.take('min_size', int, lambda v: v > 0),
        max_size=fields.take('max_size', int, lambda v: v <= 8192),
        multiple=fields.take('multiple', int, lambda v: 1 <= v <= 256),
        pad_value=fields.take('pad_value', int, lambda v: 0 <= v <= 255),
    )
    fields.finish()
    if not spec.min_size <= spec.size <= spec.max_size:
        raise ModelError('manifest.input: min_size <= size <= max_size does not hold')
    if any(v % spec.multiple for v in (spec.min_size, spec.size, spec.max_size)):
        raise ModelError(f'manifest.input: sizes must be multiples of {spec.multiple}')
    return spec


def _accuracy(data: object, index: int) -> Accuracy:
    fields = Fields(data, f'manifest.accuracy[{index}]')
    row = Accuracy(
        task=fields.take('task', str, bool),
        metric=fields.take('metric', str),
        value=fields.take('value', float),
        data=fields.take('data', str),
    )
    fields.finish()
    return row


def _size(value: list[object]) -> tuple[int, int]:
    match value:
        case [int(height), int(width)] if height > 0 and width > 0:
            return height, width
    raise ModelError(f'manifest.reference_size must be [height, width], found {value!r:.60}')
