# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adds a trained split to a model folder: encoder, codec tables, remote blocks, manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mt_perception.model.folder import read_manifest_data, write_manifest_data
from mt_perception.model.sessions import open_session
from mt_perception.network.bottleneck import CHANNELS, STRIDE
from mt_perception.network.graphs import BlockGraph
from mt_perception.network.split_graphs import LATENT, remote_graphs, robot_graph
from mt_perception.offload.codec import LatentCodec
from mt_perception.offload.codec_tables import write_tables
from mt_perception.offload.split_model import RemoteModel, SplitEncoder
from mt_perception.training.export.write_model import (
    PARITY_SIZES,
    REFERENCE_SIZE,
    block_entry,
    check_block,
    export_block,
    inputs_of,
    run_graph,
    sha256,
    smooth_noise,
)
from mt_perception.training.split.code_tables import build_tables
from mt_perception.training.split.train_split import SplitNetwork

FOLDER = 'cut'
"""Folder of the split's files inside the model folder."""

TASKS = ('detection', 'segmentation', 'depth')
_TABLES = 'codec.json'
_BATCH = 2


def export_split(split: SplitNetwork, images: Sequence[NDArray[np.uint8]], folder: Path) -> None:
    """Write a split into the folder of the model that it was trained for.

    Args:
        split: both parts, trained.
        images: network inputs (1, H, W, 3), for the symbol statistics of the codec.
        folder: the model folder; its manifest section `cut` is replaced.

    Raises:
        ModelError: ONNX Runtime and torch give different results.
    """
    split = split.eval().float().requires_grad_(False)
    (folder / FOLDER).mkdir(exist_ok=True)
    encoder = robot_graph(split.bottleneck)
    path = folder / FOLDER / f'{encoder.name}.onnx'
    entry = _export(encoder, [torch.from_numpy(smooth_noise(REFERENCE_SIZE))], path)
    codec = _write_codec(split, path.read_bytes(), images, folder)
    latent = torch.zeros(1, CHANNELS, *(side // STRIDE for side in REFERENCE_SIZE))
    manifest = read_manifest_data(folder)
    manifest['cut'] = {
        'encoder': entry,
        'tables': {'file': f'{FOLDER}/{_TABLES}', 'sha256': sha256(folder / FOLDER / _TABLES)},
        'channels': CHANNELS,
        'stride': STRIDE,
        'rates': [{'payload_bytes': 0, 'accuracy': {}} for _ in range(codec.rates)],
        'remote': _export_remote(remote_graphs(split.bottleneck, split.remote), latent, folder),
    }
    write_manifest_data(folder, manifest)
    for size in PARITY_SIZES:
        check_halves(split, folder, size)


def check_halves(split: SplitNetwork, folder: Path, size: tuple[int, int]) -> None:
    """Compare every exported block of both parts with torch at one input size.

    Raises:
        ModelError: an output's `difference` is above 1e-3.
    """
    robot, remote = SplitEncoder(folder), RemoteModel(folder)
    image = torch.from_numpy(smooth_noise(size))
    latent = remote.latent(robot.payload(image.numpy(), robot.codec.rates - 1))
    tensors = {'image': image, LATENT: torch.from_numpy(latent[None])}
    for graph in (robot_graph(split.bottleneck), *remote_graphs(split.bottleneck, split.remote)):
        # What the fusion of boxes reads has no ties.
        selects = graph.name != 'detection'
        made = check_block(graph, folder / FOLDER / f'{graph.name}.onnx', tensors, selects)
        tensors |= {n: _without_ties(v) if n.endswith('/scores') else v for n, v in made.items()}


def _without_ties(scores: Tensor) -> Tensor:
    """Return other scores of the same shape, all different."""
    order = torch.randperm(scores.numel(), generator=torch.Generator().manual_seed(0))
    return ((order + 0.5) / scores.numel()).reshape(scores.shape)


def _write_codec(
    split: SplitNetwork, encoder: bytes, images: Sequence[NDArray[np.uint8]], folder: Path
) -> LatentCodec:
    session = open_session('encoder', encoder)
    latents = [session.run(None, {'image': image})[0][0] for image in images]
    gains = split.bottleneck.log_gain.exp().numpy()
    inverses = split.bottleneck.log_inverse.exp().numpy()
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
        path = folder / FOLDER / f'{graph.name}.onnx'
        entries[graph.name] = _export(graph, inputs_of(graph, tensors), path)
        with torch.no_grad():
            tensors |= run_graph(graph, tensors)
    return entries


def _export(graph: BlockGraph, given: Sequence[Tensor], path: Path) -> dict[str, Any]:
    """Write a block for images of any size, or for batches of features of any size."""
    export_block(graph, given, path, batches=True)
    one = [tensor[:1] for tensor in given]
    return {**block_entry(graph, one, sha256(path)), 'file': f'{FOLDER}/{path.name}'}
