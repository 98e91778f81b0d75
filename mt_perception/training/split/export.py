# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adds a trained cut to a model folder: the encoder, the tables, the remote half, the section."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from mt_perception.errors import ModelError
from mt_perception.model.folder import read_manifest_data, write_manifest_data
from mt_perception.model.sessions import open_session
from mt_perception.network.bottleneck import CHANNELS, STRIDE
from mt_perception.network.graphs import BlockGraph
from mt_perception.network.split_graphs import LATENT, remote_graphs, robot_graph
from mt_perception.offload.codec import LatentCodec
from mt_perception.offload.codec_tables import write_tables
from mt_perception.offload.split_model import RemoteModel, SplitEncoder
from mt_perception.training.export.export import PARITY_SIZES, REFERENCE_SIZE, block_entry
from mt_perception.training.export.torch_runner import run_graph
from mt_perception.training.split.code_tables import build_tables
from mt_perception.training.split.train import CutNetwork

FOLDER = 'cut'
"""Where the cut's files lie inside the model folder."""

TASKS = ('detection', 'segmentation', 'depth')
_TABLES = 'codec.json'
_OPSET = 17
_BATCH = 2
_TOLERANCE = 1e-3
_TIE = 1e-5


def export_cut(cut: CutNetwork, images: Sequence[NDArray[np.uint8]], folder: Path) -> None:
    """Write a cut into the folder of the model that it was trained for.

    Args:
        cut: both halves, trained.
        images: inputs of the network, (1, H, W, 3), whose symbols the tables are counted from.
        folder: the model folder; its section `cut` is replaced.

    Raises:
        ModelError: ONNX Runtime does not compute what torch computes.
    """
    cut = cut.eval().float().requires_grad_(False)
    (folder / FOLDER).mkdir(exist_ok=True)
    encoder = robot_graph(cut.bottleneck)
    path = folder / FOLDER / f'{encoder.name}.onnx'
    image = torch.from_numpy(_noise(REFERENCE_SIZE))
    entry = _export(encoder, [image], path)
    codec = _write_codec(cut, path.read_bytes(), images, folder)
    latent = torch.zeros(1, CHANNELS, *(side // STRIDE for side in REFERENCE_SIZE))
    section = {
        'encoder': entry,
        'tables': {'file': f'{FOLDER}/{_TABLES}', 'sha256': _sha256(folder / FOLDER / _TABLES)},
        'channels': CHANNELS,
        'stride': STRIDE,
        'rates': [{'payload_bytes': 0, 'accuracy': {}} for _ in range(codec.rates)],
        'remote': _export_remote(remote_graphs(cut.bottleneck, cut.remote), latent, folder),
    }
    write_section(folder, section)
    for size in PARITY_SIZES:
        check_halves(cut, folder, size)


def write_section(folder: Path, section: Mapping[str, Any]) -> None:
    """Replace the section `cut` of a manifest."""
    write_manifest_data(folder, {**read_manifest_data(folder), 'cut': dict(section)})


def check_halves(cut: CutNetwork, folder: Path, size: tuple[int, int]) -> None:
    """Compare every block of both halves as it runs with torch at one input size.

    Raises:
        ModelError: a tensor differs by more than a thousandth of its largest value.
    """
    robot, remote = SplitEncoder(folder), RemoteModel(folder)
    image = torch.from_numpy(_noise(size))
    latent = remote.latent(robot.payload(image.numpy(), robot.codec.rates - 1))
    tensors = {'image': image, LATENT: torch.from_numpy(latent[None])}
    for graph in (robot_graph(cut.bottleneck), *remote_graphs(cut.bottleneck, cut.remote)):
        with torch.no_grad():
            made = run_graph(graph, tensors)
        content = (folder / FOLDER / f'{graph.name}.onnx').read_bytes()
        feeds = {name: tensors[source].numpy() for name, source in graph.inputs.items()}
        found = open_session(graph.name, content).run(list(graph.outputs), feeds)
        certain = _certain(made, graph)
        for (name, ours), theirs in zip(made.items(), found, strict=True):
            worst = _difference(ours.numpy()[certain], theirs[certain])
            if not worst <= _TOLERANCE:
                raise ModelError(f'{folder}: at {size} {name} differs from torch by {worst:.2g}')
        tensors |= {n: _distinct(v) if n.endswith('/scores') else v for n, v in made.items()}


def _certain(made: Mapping[str, Tensor], graph: BlockGraph) -> Any:
    """Which rows of a block's tensors do not hang on a bit.

    Where boxes are chosen by their scores, it is those whose score is like no other one's.
    """
    scores = made.get(f'{graph.name}/scores')
    if scores is None or graph.name == 'detection':
        return ...
    apart = (scores.diff(dim=1).abs() > _TIE).numpy()  # (B, N - 1)
    certain = np.zeros(scores.shape, bool)
    certain[:, 1:-1] = apart[:, 1:] & apart[:, :-1]
    return certain


def _distinct(scores: Tensor) -> Tensor:
    """Other scores, each of which occurs once: no two boxes are equally good."""
    order = torch.randperm(scores.numel(), generator=torch.Generator().manual_seed(0))
    return ((order + 0.5) / scores.numel()).reshape(scores.shape)


def _difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """The largest, relative to the largest value; of whole numbers the share that differs."""
    if np.issubdtype(ours.dtype, np.integer):
        return float(np.mean(ours != theirs)) if ours.size else 0.0
    largest = max(float(np.abs(ours).max(initial=0)), 1e-9)
    return float(np.abs(ours.astype(np.float64) - theirs).max(initial=0)) / largest


def _write_codec(
    cut: CutNetwork, encoder: bytes, images: Sequence[NDArray[np.uint8]], folder: Path
) -> LatentCodec:
    session = open_session('encoder', encoder)
    latents = [session.run(None, {'image': image})[0][0] for image in images]
    gains = cut.bottleneck.log_gain.exp().numpy()
    inverses = cut.bottleneck.log_inverse.exp().numpy()
    symbols = [
        [np.rint(latent * gain[:, None, None]).astype(np.int16) for latent in latents]
        for gain in gains
    ]
    tables = build_tables(symbols, gains, inverses)
    (folder / FOLDER / _TABLES).write_bytes(write_tables(tables))
    return LatentCodec(tables)


def _export_remote(
    graphs: Sequence[BlockGraph], latent: Tensor, folder: Path
) -> dict[str, dict[str, Any]]:
    tensors = {LATENT: latent.expand(_BATCH, -1, -1, -1)}
    entries = {}
    for graph in graphs:
        given = [tensors[source] for source in graph.inputs.values()]
        path = folder / FOLDER / f'{graph.name}.onnx'
        entries[graph.name] = _export(graph, given, path)
        with torch.no_grad():
            tensors |= run_graph(graph, tensors)
    return entries


def _export(graph: BlockGraph, given: Sequence[Tensor], path: Path) -> dict[str, Any]:
    """Write a block as ONNX for images of any size, and features in batches of any size."""
    axes = {name: _axes(name, value) for name, value in zip(graph.inputs, given, strict=True)}
    axes |= {name: {0: 'batch'} for name in graph.outputs if 'image' not in graph.inputs}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            graph.module.eval(),
            tuple(given),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
    one = [tensor[:1] for tensor in given]
    return {**block_entry(graph, one, _sha256(path)), 'file': f'{FOLDER}/{path.name}'}


def _axes(name: str, value: Tensor) -> dict[int, str]:
    """The axes of an input that vary."""
    if name == 'image':
        return {1: 'height', 2: 'width'}
    if value.ndim == len('BCHW'):
        return {0: 'batch', 2: f'height_{name}', 3: f'width_{name}'}
    return {0: 'batch', 1: f'count_{name}'}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _noise(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Smooth noise: latents of an image that a camera could have taken."""
    small = np.random.default_rng(0).integers(0, 256, (1, size[0] // 8, size[1] // 8, 3), np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)
