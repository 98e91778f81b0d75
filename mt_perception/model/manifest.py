# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest of a model folder, read strictly into frozen data.

``manifest.yaml`` is the one contract between training or import and running. All fields are
checked here, so that code that uses a ``Manifest`` needs no checks of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import yaml

from mt_perception.data_files import parse_yaml
from mt_perception.errors import ModelError
from mt_perception.model.blocks import BlockFile, read_blocks
from mt_perception.model.early_exit import (
    NO_EXITS,
    SECTION,
    EarlyExit,
    check_early_outputs,
    parse_early_exit,
)
from mt_perception.model.fields import Fields, all_of, is_name, names, strings
from mt_perception.model.input_spec import InputSpec, read_input
from mt_perception.model.paths import ONLY_FULL, POLICY, Paths, parse_paths
from mt_perception.model.split import Cut, parse_cut
from mt_perception.model.task_graph import Block, TaskGraph
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, UNLABELLED

FORMAT = 1
"""Version of the manifest format; other versions are refused."""

TASK_OUTPUTS: Mapping[str, tuple[frozenset[str], ...]] = {
    DETECTION: (frozenset({'boxes', 'scores', 'class_ids'}),),
    SEGMENTATION: (frozenset({'class_ids'}),),
    DEPTH: (
        frozenset({'depth_per_focal'}),
        frozenset({'depth'}),
        frozenset({'inverse_depth'}),
    ),
}
"""Kind of task → the sets of tensors that its post-processing reads, one set per model.

detection: ``boxes`` float32 (1, N, 4) x0 y0 x1 y1 in network pixels, ``scores`` float32 (1, N),
``class_ids`` int64 (1, N). segmentation: ``class_ids`` uint8 (1, h, w). depth, float32 (1, h, w)
along the optical axis, is one of ``depth_per_focal`` (metres divided by the focal length in
network pixels), ``depth`` (metres) and ``inverse_depth`` (1 / depth up to an unknown scale and
shift: relative depth). The maps cover the whole network input at any stride.
"""


@dataclass(frozen=True)
class ConfidenceSpec:
    """The confidence of a segmentation, and its calibration.

    Attributes:
        logits: The tensor, float32 (1, C, h, w), of C classes at any stride. The confidence is the
            softmax probability of the likeliest class.
        slope: Of the calibrated log-odds, ``slope · log-odds + offset`` (Platt scaling).
        offset: See ``slope``.
    """

    logits: str
    slope: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class TaskSpec:
    """One task of the model.

    Attributes:
        name: Unique in the model. A task named like a kind is the main task of that kind.
        kind: ``detection``, ``segmentation`` or ``depth``; selects the post-processing.
        outputs: Output name (see TASK_OUTPUTS) → tensor of the graph.
        labels: Class names by class id; empty for depth.
        early: The same as ``outputs``, computed by the first stage alone; empty without one.
        confidence: Its confidence, computed on request only; None if the model has none.
    """

    name: str
    kind: str
    outputs: Mapping[str, str]
    labels: tuple[str, ...]
    early: Mapping[str, str] = field(default_factory=dict)
    confidence: ConfidenceSpec | None = None

    @property
    def relative_depth(self) -> bool:
        """Whether the task is depth without a unit."""
        return 'inverse_depth' in self.outputs


@dataclass(frozen=True)
class Accuracy:
    """A measured figure of the model, and the data it was measured on."""

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
        files: Block name → file; includes variants, gates and the policy.
        graph: The blocks and the tasks they serve.
        early_graph: The same where every task ends with its early outputs, if it has any.
        tasks: Task name → task.
        accuracy: Measured figures.
        paths: The ways through the graph, and the policy that chooses among them.
        cut: The cut for offloading; None if the model has none.
        early_exit: The gates of tasks with early outputs.
    """

    name: str
    version: str
    licence: str
    description: str
    input: InputSpec
    reference_size: tuple[int, int]
    files: Mapping[str, BlockFile]
    graph: TaskGraph
    early_graph: TaskGraph
    tasks: Mapping[str, TaskSpec]
    accuracy: tuple[Accuracy, ...]
    paths: Paths = ONLY_FULL
    cut: Cut | None = None
    early_exit: EarlyExit = NO_EXITS

    @cached_property
    def early_tasks(self) -> Mapping[str, TaskSpec]:
        """Task name → task, with its early outputs in place of its outputs where it has any."""
        return {
            name: replace(task, outputs=task.early or task.outputs)
            for name, task in self.tasks.items()
        }

    @property
    def session_blocks(self) -> tuple[Block, ...]:
        """All blocks that stages run: those of the graph, variants and gates."""
        gates = self.early_exit.gates.values()
        return (*self.graph.blocks.values(), *self.paths.variants, *gates)

    @property
    def logits(self) -> frozenset[str]:
        """The tensors that the confidences of tasks read."""
        specs = (task.confidence for task in self.tasks.values())
        return frozenset(spec.logits for spec in specs if spec is not None)

    def macs_at(self, macs: int, size: tuple[int, int]) -> int:
        """Scale MACs from the reference size to a network input of (height, width) pixels.

        Exact for convolutions, because sizes are multiples of the coarsest stride. Networks of a
        fixed input size cost the same for all images.
        """
        if self.input.constant_cost:
            return macs
        height, width = self.reference_size
        return round(macs * (size[0] * size[1]) / (height * width))


def parse_manifest(text: str) -> Manifest:
    """Parse the text of a manifest.

    Raises:
        ModelError: The text is not valid YAML, has another format version, or fields are
            missing, unknown or out of range; the message names the line or all such fields.
    """
    return build_manifest(parse_yaml(text, 'manifest'))


def manifest_text(data: Mapping[str, Any]) -> str:
    """The YAML text of a manifest given as plain data."""
    return yaml.safe_dump(dict(data), sort_keys=False, width=99)


def build_manifest(data: object) -> Manifest:
    """Check the plain data of a manifest.

    Raises:
        ModelError: As in `parse_manifest`.
    """
    root = Fields(data, 'manifest')
    version = root.take('format', int)
    if version != FORMAT:
        raise ModelError(
            f'manifest format is {version}, this mt_perception reads {FORMAT}; '
            'export the model again or install the matching version'
        )
    parts = all_of(partial(read, root) for read in _PARTS.values())
    found: dict[str, Any] = dict(zip(_PARTS, parts, strict=True))
    del found[_UNKNOWN]
    blocks, files = found.pop('blocks')
    tasks: list[TaskSpec] = found.pop('tasks')
    graph = TaskGraph(blocks, {task.name: task.outputs.values() for task in tasks})
    early = TaskGraph(blocks, {t.name: (t.early or t.outputs).values() for t in tasks})
    check_early_outputs(graph, early)
    early_exit = parse_early_exit(root, graph, early)
    _check_confidence(tasks, graph)
    paths = parse_paths(root, graph, early=any(task.early for task in tasks))
    if early_exit.gates and paths.first_stage is None:
        raise ModelError(
            'manifest.early_exit: manifest.paths lacks the path of closed gates: early true, no '
            'variants, scale 1'
        )
    manifest = Manifest(
        files={**files, **paths.files, **early_exit.files},
        graph=graph,
        early_graph=early,
        tasks={task.name: task for task in tasks},
        paths=paths,
        cut=parse_cut(root.take_or('cut', {}), {task.name: task.outputs for task in tasks}),
        early_exit=early_exit,
        **found,
    )
    if manifest.input.fixed and any(path.scale != 1 for path in paths.choices):
        raise ModelError('manifest.paths: a model of a fixed input size has no path with a scale')
    return manifest


def _tasks(data: Mapping[object, object]) -> list[TaskSpec]:
    tasks = all_of(partial(_task, *item) for item in data.items())
    if not tasks:
        raise ModelError('manifest.tasks is empty; a model serves at least one task')
    return tasks


def _outputs(
    fields: Fields, where: str, possible: tuple[frozenset[str], ...]
) -> tuple[dict[str, str], dict[str, str]]:
    """Read a task's outputs and its early outputs, which have the same names."""
    outputs = strings(fields.take('outputs', dict), f'{where}.outputs')
    if set(outputs) not in possible:
        expected = ', or '.join(', '.join(sorted(names)) for names in possible)
        raise ModelError(f'{where}.outputs must name exactly: {expected}')
    if 'early' not in fields:
        return outputs, {}
    early = strings(fields.take('early', dict), f'{where}.early')
    if set(early) != set(outputs):
        raise ModelError(f'{where}.early must name exactly: {", ".join(sorted(outputs))}')
    return outputs, early


def _confidence(data: object, where: str) -> ConfidenceSpec:
    fields = Fields(data, where)
    found = ConfidenceSpec(
        fields.take('logits', str),
        fields.take_or('slope', 1.0, lambda v: 0 <= v < 100),
        fields.take_or('offset', 0.0, lambda v: abs(v) < 100),
    )
    fields.finish()
    return found


def _check_confidence(tasks: list[TaskSpec], graph: TaskGraph) -> None:
    """Check that the blocks of each task compute its logits, so that they cost no block."""
    for task in tasks:
        blocks = graph.blocks_for([task.name])
        made = {block.tensor(output) for block in blocks for output in block.outputs}
        if task.confidence is not None and task.confidence.logits not in made:
            raise ModelError(
                f'manifest.tasks.{task.name}.confidence.logits is {task.confidence.logits!r:.60}; '
                f'expected one of {", ".join(sorted(made))}'
            )


def _task(name: object, value: object) -> TaskSpec:
    where = f'manifest.tasks.{name}'
    # Task names are parts of topic names.
    if not isinstance(name, str) or not re.fullmatch('[a-z][a-z0-9_]{0,31}', name):
        raise ModelError(f'{where}: a task name has lower-case letters, digits and "_"')
    fields = Fields(value, where)
    kind: str = fields.take('kind', str)
    if kind not in TASK_OUTPUTS or (name in TASK_OUTPUTS and name != kind):
        kinds = ', '.join(sorted(TASK_OUTPUTS))
        raise ModelError(f'{where}.kind is {kind!r:.60}; kinds are {kinds}')
    outputs, early = _outputs(fields, where, TASK_OUTPUTS[kind])
    labels = names(fields.take('labels', list), f'{where}.labels')
    if bool(labels) == (kind == DEPTH) or len(labels) > UNLABELLED:
        raise ModelError(f'{where}.labels: depth has none, other tasks 1 to {UNLABELLED}')
    confidence = None
    if kind == SEGMENTATION and 'confidence' in fields:
        confidence = _confidence(fields.take('confidence', dict), f'{where}.confidence')
    fields.finish()
    return TaskSpec(name, kind, outputs, labels, early, confidence)


def _accuracies(rows: list[object]) -> tuple[Accuracy, ...]:
    return tuple(all_of(partial(_accuracy, row, index) for index, row in enumerate(rows)))


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


_UNKNOWN = 'unknown fields'

# Unknown fields are detected after all other parts were read.
_PARTS: Mapping[str, Callable[[Fields], Any]] = {
    'name': lambda root: root.take('name', str, is_name),
    'version': lambda root: root.take('version', str, bool),
    'licence': lambda root: root.take('licence', str, bool),
    'description': lambda root: root.take('description', str),
    'input': lambda root: read_input(root.take('input', dict)),
    'reference_size': lambda root: root.take_size('reference_size', 1, 1 << 16),
    'blocks': lambda root: read_blocks(root.take('blocks', dict)),
    'tasks': lambda root: _tasks(root.take('tasks', dict)),
    'accuracy': lambda root: _accuracies(root.take('accuracy', list)),
    _UNKNOWN: lambda root: root.finish(later=('variants', 'paths', POLICY, SECTION, 'cut')),
}
"""The parts of a manifest that need no other part, and how to read each."""
