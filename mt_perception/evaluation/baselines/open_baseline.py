# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Opens a baseline by its specification, such as ``onnx:a.onnx+b.onnx:yolox``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import onnxruntime as ort

from mt_perception.errors import ModelError
from mt_perception.evaluation.baselines.baseline import Adapter, Baseline, Net
from mt_perception.evaluation.baselines.dense_networks import DeepLab, TcMonoDepth
from mt_perception.evaluation.baselines.detectors import FastestDet, PicoDet, Yolox
from mt_perception.evaluation.baselines.labels import VOC, detector_labels
from mt_perception.execution.options import Options
from mt_perception.model.importers.onnx_macs import count_macs
from mt_perception.model.sessions import open_session

PREFIX = 'onnx:'
MAX_BYTES = 1 << 30

KINDS: Mapping[str, str] = {
    'yolox': 'detector, one output (1, N, 5 + classes) on grids of strides 8, 16, 32',
    'picodet': 'detector, scores and sides at four strides',
    'fastestdet': 'detector, one output (1, 5 + classes, h, w)',
    'deeplab': 'segmenter of Pascal VOC, logits (1, h, w, 21)',
    'tcmonodepth': 'relative inverse depth (1, 1, h, w)',
}
"""Name of a kind of network → what it is."""


def open_baseline(spec: str, options: Options | None = None, threads: int = 1) -> Baseline:
    """Open the networks of a baseline.

    Args:
        spec: ``onnx:FILE[:KIND]``, several joined by ``+``; without a kind it is recognised by
            the network's inputs and outputs.
        options: Score threshold and number of detections.
        threads: Threads inside one operator; 0 lets ONNX Runtime take one per core.

    Raises:
        ModelError: A file cannot be read or run, or is of an unknown kind.
    """
    if not spec.startswith(PREFIX) or len(spec) == len(PREFIX):
        raise ModelError(f'a baseline is given as onnx:FILE[:KIND][+FILE[:KIND]…], found {spec!r}')
    parts = spec.removeprefix(PREFIX).split('+')
    nets = [_open_net(part.removeprefix(PREFIX), options or Options(), threads) for part in parts]
    return Baseline(nets)


def _open_net(part: str, options: Options, threads: int) -> Net:
    name, _, kind = part.rpartition(':')
    if kind not in KINDS:
        name, kind = part, ''
    file = Path(name).expanduser()
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ModelError(f'{file} is larger than {MAX_BYTES} bytes')
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(f'the baseline {file} cannot be read: {error.strerror}') from error
    session = open_session(file.name, content, threads=threads)
    inputs = [_sides(value) for value in session.get_inputs()]
    outputs = [_sides(value) for value in session.get_outputs()]
    kind = kind or _recognise(file, inputs, outputs)
    return Net(
        name=file.stem,
        kind=kind,
        sha256=hashlib.sha256(content).hexdigest(),
        macs=count_macs(content),
        adapter=_adapter(kind, file, (inputs, outputs), options),
        session=session,
    )


def _sides(value: ort.NodeArg) -> list[int]:
    """The shape, with −1 for a side that is not fixed."""
    return [side if isinstance(side, int) else -1 for side in value.shape]


def _recognise(file: Path, inputs: list[list[int]], outputs: list[list[int]]) -> str:
    """The kind of network that has these inputs and outputs."""
    if len(inputs) == 1 and len(inputs[0]) == 4 and outputs:
        first = outputs[0]
        if len(outputs) == 8 and all(len(shape) == 3 for shape in outputs):
            return 'picodet'
        if len(outputs) == 1 and len(first) == 3 and first[2] > 5:
            return 'yolox'
        if len(outputs) == 1 and len(first) == 4 and first[3] == len(VOC):
            return 'deeplab'
        if len(outputs) == 1 and len(first) == 4 and first[1] == 1:
            return 'tcmonodepth'
        if len(outputs) == 1 and len(first) == 4 and first[1] > 5:
            return 'fastestdet'
    known = '; '.join(f'{kind} ({text})' for kind, text in KINDS.items())
    raise ModelError(
        f'{file} has inputs {inputs} and outputs {outputs}; expected one of: '
        f'{known}. Make a model folder of it instead'
    )


def _adapter(
    kind: str, file: Path, shapes: tuple[list[list[int]], list[list[int]]], options: Options
) -> Adapter:
    inputs, outputs = shapes
    channels_last = kind == 'deeplab'
    height, width = inputs[0][1:3] if channels_last else inputs[0][2:4]
    if height <= 0 or width <= 0:
        raise ModelError(f'{file} has an input of variable size; export it with a fixed size')
    size = (height, width)
    if kind == 'deeplab':
        return DeepLab(size)
    if kind == 'tcmonodepth':
        return TcMonoDepth(size)
    make, classes = _DETECTORS[kind]
    return make(size, detector_labels(file, classes(outputs)), options)


_MakeDetector = Callable[[tuple[int, int], tuple[str, ...], Options], Adapter]

_DETECTORS: Mapping[str, tuple[_MakeDetector, Callable[[list[list[int]]], int]]] = {
    'yolox': (Yolox, lambda outputs: outputs[0][2] - 5),
    'picodet': (PicoDet, lambda outputs: outputs[0][2]),
    'fastestdet': (FastestDet, lambda outputs: outputs[0][1] - 5),
}
