# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Static 8-bit quantisation of a model folder, and its cost in accuracy and latency."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from mt_perception.errors import ModelError
from mt_perception.image.letterbox import fit
from mt_perception.model.folder import open_model, read_manifest_data, write_manifest_data
from mt_perception.model.sessions import load_sessions
from mt_perception.model.task_graph import IMAGE
from mt_perception.pipeline import Pipeline
from mt_perception.training.data.batches import draw
from mt_perception.training.data.recipe_sets import network_classes, read_sets
from mt_perception.training.export.model_metrics import measure_metrics
from mt_perception.training.export.write_model import sha256
from mt_perception.training.recipe import Recipe
from mt_perception.types import Frame

CALIBRATIONS = {
    'minmax': CalibrationMethod.MinMax,
    'percentile': CalibrationMethod.Percentile,
    'entropy': CalibrationMethod.Entropy,
}
# Operations with 8-bit kernels in ONNX Runtime on a CPU, so that no conversion is between them.
_OPERATIONS = ('Conv', 'Sigmoid', 'Mul', 'Add', 'Concat', 'MaxPool', 'Relu')
_PERCENTILE = 99.99
# Sections about files other than the blocks; they are valid for the float folder only.
_LEFT_OUT = ('variants', 'paths', 'policy', 'cut')
_METRICS = ('ap', 'miou', 'abs_rel')
_LESS_IS_BETTER = ('abs_rel',)
_FRAME_SIZE = (480, 640)
_WARM_UP, _ROUNDS = 5, 40


@dataclass(frozen=True)
class Quantisation:
    """Quantisation settings.

    Args:
        blocks: blocks to quantise; the others are copied.
        calibration: minmax, percentile (99.99 %, the most accurate here) or entropy.
        float_stem: keep the first convolution in float; with its three input channels the 8-bit
            kernel is slower.
        float_parts: prefixes of submodules that stay in float, such as trunk.stage2, whose few
            channels differ by orders of magnitude.
    """

    blocks: tuple[str, ...]
    calibration: str = 'percentile'
    float_stem: bool = True
    float_parts: tuple[str, ...] = ()


def quantize_folder(
    model: Path,
    folder: Path,
    images: Sequence[NDArray[np.uint8]],
    how: Quantisation,
) -> None:
    """Write an 8-bit model folder: weights per channel, activations per tensor.

    The last convolution of a block and everything after it (decoding, argmax) stay in float:
    they cost little and need the precision.

    Args:
        model: the float model folder.
        folder: the folder to write; must be another one.
        images: training images (H, W, 3) BGR; those of the most common shape are used.
        how: the settings.

    Raises:
        ModelError: the folder is the model's own, a block is unknown, or there is no image.
    """
    opened = open_model(model)
    graph = opened.manifest.graph
    unknown = sorted(set(how.blocks) - set(graph.blocks))
    if unknown:
        raise ModelError(f'{model} has no blocks {unknown}; it has {sorted(graph.blocks)}')
    if folder.resolve() == model.resolve():
        raise ModelError(f'{folder} is the float model; choose another folder for the 8-bit model')
    if not images:
        raise ModelError('there are no calibration images; expected at least one')
    manifest = read_manifest_data(model)
    folder.mkdir(parents=True, exist_ok=True)
    inputs = _block_inputs(model, images, how.blocks)
    for name, entry in manifest['blocks'].items():
        target = folder / entry['file']
        if name in how.blocks:
            _quantize_block(model / entry['file'], target, inputs[name], how)
        else:
            shutil.copyfile(model / entry['file'], target)
        entry['sha256'] = sha256(target)
    for section in _LEFT_OUT:
        manifest.pop(section, None)
    manifest['name'] = folder.name
    # Accuracy was measured on the float model.
    manifest['accuracy'] = []
    write_manifest_data(folder, manifest)


def quantized_nodes(
    graph: onnx.GraphProto, float_stem: bool, float_parts: Sequence[str] = ()
) -> list[str]:
    """Return the nodes to quantise: those that are followed by a convolution.

    Args:
        graph: graph of a block.
        float_stem: leave out everything up to the first activation after the image.
        float_parts: prefixes of submodules that are left out.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for source in node.input:
            readers.setdefault(source, []).append(node)
    before_conv: set[str] = set()
    for node in reversed(graph.node):
        following = [reader for output in node.output for reader in readers.get(output, ())]
        if any(n.op_type == 'Conv' or n.name in before_conv for n in following):
            before_conv.add(node.name)
    excluded = _stem(graph) if float_stem else set()
    parts = tuple(f'/{part.replace(".", "/")}/' for part in float_parts)
    excluded |= {node.name for node in graph.node if node.name.startswith(parts)}
    return [
        node.name
        for node in graph.node
        if node.op_type in _OPERATIONS and node.name in before_conv and node.name not in excluded
    ]


def _stem(graph: onnx.GraphProto) -> set[str]:
    """Return the first convolution after the image, the nodes before it, and its activation."""
    if [given.name for given in graph.input] != [IMAGE]:
        return set()
    names: set[str] = set()
    made: set[str] = set()
    for node in graph.node:
        if made and set(node.input) <= made and node.op_type in ('Sigmoid', 'Mul', 'Relu'):
            names.add(node.name)
            made.update(node.output)
        elif not made:
            names.add(node.name)
            if node.op_type == 'Conv':
                made.update(node.output)
    return names


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Passes a block's inputs to the calibration."""

    def __init__(self, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        return next(self._feeds, None)


def _quantize_block(
    source: Path, target: Path, feeds: Sequence[Mapping[str, NDArray[Any]]], how: Quantisation
) -> None:
    # Warnings about dynamic shapes are of no use here.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / 'prepared.onnx'
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = quantized_nodes(onnx.load(prepared).graph, how.float_stem, how.float_parts)
        quantize_static(
            str(prepared),
            str(target),
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            # Unsigned times signed is what x86 processors have instructions for.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=nodes,
            op_types_to_quantize=list(_OPERATIONS),
            calibrate_method=CALIBRATIONS[how.calibration],
            extra_options={'CalibPercentile': _PERCENTILE},
        )


def _block_inputs(
    model: Path, images: Sequence[NDArray[np.uint8]], blocks: Sequence[str]
) -> dict[str, list[dict[str, NDArray[Any]]]]:
    """Run the float model and return the inputs of each block."""
    opened = open_model(model)
    spec, graph = opened.manifest.input, opened.manifest.graph
    sessions = load_sessions(opened).by_block
    inputs: dict[str, list[dict[str, NDArray[Any]]]] = {name: [] for name in blocks}
    fits = [fit((image.shape[0], image.shape[1]), spec.size, spec.multiple) for image in images]
    # Histograms need tensors of one shape; the most common one is used.
    size, _ = Counter(letterbox.network_size for letterbox in fits).most_common(1)[0]
    for image, letterbox in zip(images, fits, strict=True):
        if letterbox.network_size != size:
            continue
        tensors: dict[str, NDArray[Any]] = {IMAGE: letterbox.network_image(image, spec.pad_value)}
        for block in graph.blocks.values():
            feed = {own: tensors[tensor] for own, tensor in block.inputs.items()}
            if block.name in inputs:
                inputs[block.name].append(feed)
            made = sessions[block.name].run(list(block.outputs), feed)
            for output, value in zip(block.outputs, made, strict=True):
                tensors[block.tensor(output)] = value
    return inputs


@dataclass(frozen=True)
class Row:
    """A metric of both models, and its relative loss (positive is worse) or ratio."""

    name: str
    before: float
    after: float
    change: str


def calibration_images(recipe: Recipe, data: Path, count: int) -> list[NDArray[np.uint8]]:
    """Draw training images from a recipe's sets, (H, W, 3) BGR."""
    # Only images are read, so the cache of the teachers is not needed.
    sets = read_sets(recipe, data, network_classes(recipe, data), data / 'no_cache')
    return [draw(sets, recipe.seed, p).image() for p in range(count)]


def measure_both(model: Path, quantised: Path, recipe: Recipe, data: Path) -> Iterator[Row]:
    """Compare accuracy, latency (alternating, one thread) and size of two model folders.

    Args:
        model: the float folder.
        quantised: the 8-bit folder.
        recipe: names the validation data.
        data: the data folder.
    """
    pipelines = [Pipeline.load(folder) for folder in (model, quantised)]
    before, after = (measure_metrics(pipeline, data, recipe) for pipeline in pipelines)
    for name in (name for name in _METRICS if name in before and name in after):
        sign = -1 if name in _LESS_IS_BETTER else 1
        lost = sign * (before[name] - after[name])
        change = f'{lost / before[name]:+.2%}' if before[name] else 'no ratio to zero'
        yield Row(name, before[name], after[name], change)
    for name, (first, second) in latencies_ms(pipelines[0], pipelines[1]).items():
        yield Row(f'{name}, ms', first, second, f'{second / first:.2f}')
    sizes = [sum(p.stat().st_size for p in f.glob('*.onnx')) / 1e6 for f in (model, quantised)]
    yield Row('files, MB', sizes[0], sizes[1], f'{sizes[1] / sizes[0]:.2f}')


def latencies_ms(first: Pipeline, second: Pipeline) -> dict[str, tuple[float, float]]:
    """Return median times of every block of two models, and `all blocks`, their sum."""
    rng = np.random.default_rng(0)
    frame = Frame(rng.integers(0, 256, (*_FRAME_SIZE, 3), np.uint8), 0, 'camera')
    times: dict[str, list[list[float]]] = {}
    started = time.monotonic()
    for turn in range(_WARM_UP + _ROUNDS):
        for which, pipeline in enumerate((first, second)):
            blocks = dict(pipeline.run(frame).execution.block_ms)
            blocks['all blocks'] = sum(blocks.values())
            for name, value in blocks.items():
                if turn >= _WARM_UP:
                    times.setdefault(name, [[], []])[which].append(value)
        if time.monotonic() - started > 120:
            break
    return {
        name: (float(np.median(pair[0])), float(np.median(pair[1])))
        for name, pair in times.items()
    }
