# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a model folder of one or several networks of other projects."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto

from mt_perception.errors import ModelError
from mt_perception.model.folder import write_manifest_data
from mt_perception.model.importers.backbone import Part, split_backbone
from mt_perception.model.importers.choice import DEPTH_OUTPUTS, Card
from mt_perception.model.importers.detection_decoders import (
    DECODERS,
    Outputs,
    add_detection_outputs,
)
from mt_perception.model.importers.foreign_network import Network, Tensor
from mt_perception.model.importers.graph_builder import FLOAT, GraphBuilder
from mt_perception.model.importers.import_plan import ImportedTask
from mt_perception.model.importers.map_decoders import depth_outputs, segmentation_outputs
from mt_perception.model.importers.onnx_macs import node_macs
from mt_perception.model.importers.preprocess import (
    CONTENT_OUTPUT,
    IMAGE_OUTPUT,
    SCALE_OUTPUT,
    Preprocess,
    prepare_graph,
)
from mt_perception.model.importers.presets import PRESETS
from mt_perception.model.input_spec import LETTERBOX
from mt_perception.model.manifest import FORMAT
from mt_perception.model.task_graph import IMAGE
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

MULTIPLE = 32
"""Sides of images for a network of any size are multiples of this."""

_KEEP_SIZES = (320, 1280)


def write_model_folder(folder: Path, tasks: Sequence[ImportedTask], card: Card) -> list[str]:
    """Write the graphs and the manifest.

    Args:
        folder: An existing, empty folder.
        tasks: The tasks.
        card: Name and origin.

    Returns:
        Warnings for the user.

    Raises:
        ModelError: A decoder does not fit its network.
    """
    writer = _FolderWriter(folder, tasks, resize=_resizes(tasks))
    sections = {task.choice.task: writer.add(task) for task in tasks}
    sizes = [task.preprocess.size for task in tasks]
    data = {
        'format': FORMAT,
        'name': card.name,
        'version': card.version,
        'licence': card.licence,
        'description': card.description or _description(tasks),
        'input': _input(tasks, writer.resize),
        'reference_size': list(sizes[0] or (640, 640)),
        'blocks': writer.blocks,
        'tasks': sections,
        'accuracy': [],
    }
    write_manifest_data(folder, data)
    return writer.warnings


def _description(tasks: Sequence[ImportedTask]) -> str:
    files = ', '.join(f'{task.choice.task} from {task.network.path.name}' for task in tasks)
    return f'Imported: {files}.'


def _resizes(tasks: Sequence[ImportedTask]) -> bool:
    """Whether the networks expect different images, so that each resizes its own."""
    return len({(t.preprocess.size, t.preprocess.fit) for t in tasks}) > 1


def _input(tasks: Sequence[ImportedTask], resize: bool) -> dict[str, Any]:
    settings = tasks[0].preprocess
    if not resize and settings.size is not None:
        fixed = {'fixed': list(settings.size), 'pad_value': settings.pad_value}
        return {**fixed, 'fit': settings.fit}
    sides = [max(t.preprocess.size) for t in tasks if t.preprocess.size is not None]
    multiple = MULTIPLE if any(t.preprocess.size is None for t in tasks) else 1
    if not sides:
        low, high = _KEEP_SIZES
        size = {'size': 640, 'min_size': low, 'max_size': high}
    else:
        side = math.ceil(max(sides) / multiple) * multiple
        size = {'size': side, 'min_size': side, 'max_size': side}
    same = {'constant_cost': True} if sides else {}
    return {**size, 'multiple': multiple, 'pad_value': settings.pad_value, **same}


@dataclass
class _FolderWriter:
    """Writes blocks; networks and image preparations that tasks share are written once.

    Attributes:
        folder: The model folder.
        tasks: All tasks.
        resize: Whether each network resizes the image itself.
        blocks: The manifest's section ``blocks``.
        warnings: Warnings for the user.
    """

    folder: Path
    tasks: Sequence[ImportedTask]
    resize: bool
    blocks: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    _prepared: dict[tuple[Any, ...], str] = field(default_factory=dict)
    _networks: dict[tuple[Any, ...], dict[str, str]] = field(default_factory=dict)

    def add(self, task: ImportedTask) -> dict[str, Any]:
        """Write the blocks of a task; returns its section of the manifest."""
        prepare = self._prepare(task)
        resized = self.resize and task.preprocess.size is not None
        used = _used_outputs(task)
        tensors = self._network(task, prepare)
        graph = GraphBuilder(task.choice.task)
        inputs = {}
        values = []
        for index, output in enumerate(used):
            shape = [side if side >= 0 else None for side in output.shape]
            name = graph.input(f'output_{index}', output.kind, shape)
            inputs[name] = tensors[output.name]
            values.append(name)
        for name, size in ((SCALE_OUTPUT, 4), (CONTENT_OUTPUT, 2)) if resized else ():
            if _reads(task, name):
                inputs[graph.input(name, FLOAT, (size,))] = f'{prepare}/{name}'
        outputs = _decode(graph, task, used, values, set(inputs))
        self._write(task.choice.task, graph.build(), inputs, outputs)
        return {
            'kind': task.choice.task,
            'outputs': {name: f'{task.choice.task}/{name}' for name in outputs},
            'labels': list(task.choice.labels),
        }

    def _prepare(self, task: ImportedTask) -> str:
        settings = task.preprocess
        resize = self.resize and settings.size is not None
        constants = _constants(task.network, settings)
        key = (settings, resize, tuple(constants))
        if key not in self._prepared:
            name = 'prepare' if not self._prepared else f'prepare_{task.choice.task}'
            outputs = [IMAGE_OUTPUT, *constants]
            outputs += [SCALE_OUTPUT, CONTENT_OUTPUT] if resize else []
            graph = prepare_graph(settings, resize, constants)
            self._write(name, graph, {'image': 'image'}, outputs)
            self._prepared[key] = name
        return self._prepared[key]

    def _network(self, task: ImportedTask, prepare: str) -> dict[str, str]:
        """Write the network; returns its output → the tensor of the whole graph."""
        network = task.network
        key = (network.path.resolve(), prepare)
        if key not in self._networks:
            self._networks[key] = self._write_network(task, prepare)
        return self._networks[key]

    def _write_network(self, task: ImportedTask, prepare: str) -> dict[str, str]:
        network = task.network
        tensors = {tensor.name: f'{prepare}/{tensor.name}' for tensor in network.inputs}
        tensors[network.image.name] = f'{prepare}/{IMAGE_OUTPUT}'
        parts = self._parts(network, task.preprocess)
        macs = node_macs(network.model, task.preprocess.size or (640, 640))
        if macs is None:
            self.warnings.append(f'{network.path}: its MACs cannot be counted; 0 is written')
        for suffix, part in parts.items():
            name = self._free_name(network.path.stem, suffix)
            inputs = {given: tensors[given] for given in part.inputs}
            self._write(name, part.model, inputs, part.outputs)
            self.blocks[name]['macs'] = 0 if macs is None else sum(macs[i] for i in part.nodes)
            tensors.update({output: f'{name}/{output}' for output in part.outputs})
        return tensors

    def _parts(self, network: Network, settings: Preprocess) -> dict[str, Part]:
        """The network as a whole, or as a backbone and heads: suffix of the name → part."""
        readers = {
            task.choice.task: [output.name for output in _used_outputs(task)]
            for task in self.tasks
            if task.network is network and task.preprocess == settings
        }
        split = split_backbone(network.model, readers) if len(readers) > 1 else None
        if split is not None:
            return {'': split.backbone, **split.heads}
        nodes = tuple(range(len(network.model.graph.node)))
        inputs = tuple(tensor.name for tensor in network.inputs)
        outputs = tuple(tensor.name for tensor in network.outputs)
        return {'': Part(network.model, nodes, inputs, outputs)}

    def _free_name(self, stem: str, suffix: str) -> str:
        """A name for a block that no other block and no task has."""
        name = re.sub(r'[^A-Za-z0-9_.-]', '_', stem).lstrip('_.-')[:40] or 'network'
        name += f'_{suffix}' if suffix else ''
        taken = {*self.blocks, DETECTION, SEGMENTATION, DEPTH, IMAGE}
        while name in taken or name.startswith('prepare'):
            name = f'network_{name}'
        return name

    def _write(
        self,
        name: str,
        model: onnx.ModelProto,
        inputs: Mapping[str, str],
        outputs: Sequence[str],
    ) -> None:
        content = model.SerializeToString()
        file = f'{name}.onnx'
        (self.folder / file).write_bytes(content)
        self.blocks[name] = {
            'file': file,
            'sha256': hashlib.sha256(content).hexdigest(),
            'inputs': dict(inputs),
            'outputs': list(outputs),
            'macs': 0,
            'parameters': sum(math.prod(t.dims) for t in model.graph.initializer),
            'skippable': False,
        }


def _constants(network: Network, settings: Preprocess) -> dict[str, tuple[ArrayLike, int]]:
    """Values of the inputs beside the image.

    Raises:
        ModelError: An input is unknown.
    """
    height, width = settings.size or (0, 0)
    known: dict[str, ArrayLike] = {
        'orig_target_sizes': [[width, height]],
        'im_shape': [[height, width]],
        'scale_factor': [[1.0, 1.0]],
    }
    found: dict[str, tuple[ArrayLike, int]] = {}
    for tensor in network.inputs:
        if tensor.name == network.image.name:
            continue
        if tensor.name not in known or settings.size is None:
            raise ModelError(
                f'{network.path} needs the input {tensor}, which is unknown; known beside the '
                f'image are {", ".join(known)}, with a fixed size'
            )
        found[tensor.name] = (known[tensor.name], tensor.kind)
    return found


def _used_outputs(task: ImportedTask) -> list[Tensor]:
    """The outputs that the task's decoder reads."""
    if task.choice.task == DETECTION:
        return list(task.network.detector_outputs)
    outputs = list(task.network.outputs)
    if task.choice.output:
        outputs = [output for output in outputs if output.name == task.choice.output]
        if not outputs:
            names = ', '.join(output.name for output in task.network.outputs)
            raise ModelError(f'{task.network.path} has no output {task.choice.output!r}: {names}')
    # Networks with auxiliary heads list the main one first, or call it "out".
    named = [output for output in outputs if output.name in ('out', 'logits')]
    return (named or outputs)[:1]


def _reads(task: ImportedTask, name: str) -> bool:
    """Whether a task's decoder reads an output of ``prepare``."""
    if task.choice.task == DETECTION:
        return name == SCALE_OUTPUT
    return name == CONTENT_OUTPUT and task.preprocess.fit == LETTERBOX


def _decode(
    graph: GraphBuilder,
    task: ImportedTask,
    used: Sequence[Tensor],
    values: Sequence[str],
    inputs: set[str],
) -> list[str]:
    """Add the decoder of a task to its graph; returns the names of the outputs."""
    choice = task.choice
    if choice.task == DETECTION:
        outputs = Outputs(
            values=tuple(_float(graph, v, t.kind) for v, t in zip(values, used, strict=True)),
            shapes=tuple(tensor.shape for tensor in used),
            size=task.preprocess.size,
            labels=len(choice.labels),
            names=tuple(tensor.name for tensor in used),
        )
        found = DECODERS[PRESETS[task.preset].decoder](graph, outputs)
        add_detection_outputs(graph, found, SCALE_OUTPUT if SCALE_OUTPUT in inputs else None)
        return ['boxes', 'scores', 'class_ids']
    content = CONTENT_OUTPUT if CONTENT_OUTPUT in inputs else None
    value = values[0]
    if choice.task == SEGMENTATION:
        segmentation_outputs(graph, value, used[0], choice.labels, content)
        return ['class_ids']
    depth_outputs(graph, _float(graph, value, used[0].kind), used[0], choice.depth_kind, content)
    return [DEPTH_OUTPUTS[choice.depth_kind]]


def _float(graph: GraphBuilder, value: str, kind: int) -> str:
    return value if kind == TensorProto.FLOAT else graph.op('Cast', value, to=FLOAT)
