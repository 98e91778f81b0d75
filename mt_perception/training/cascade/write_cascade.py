# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a cascade as a model folder: the robot's model, the second network, and early exits."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
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
from mt_perception.network.cascade_graphs import LOGITS, cascade_graphs, fusion_graph
from mt_perception.network.graphs import BlockGraph
from mt_perception.network.remote import Remote
from mt_perception.training.export.write_model import (
    PARITY_SIZES,
    REFERENCE_SIZE,
    block_entry,
    check_block,
    export_block,
    inputs_of,
    sha256,
    smooth_noise,
)
from mt_perception.types import DETECTION, SEGMENTATION

FIRST = 'first'
"""Path that ends after the first stage."""


def write_cascade(remote: Remote, base: Path, folder: Path, version: str) -> None:
    """Write the model folder.

    The blocks, variants and paths of the base model become those of the first stage; the
    full path runs the second network, too. Accuracies and gates are not measured here.

    Args:
        remote: both networks and the wide head, trained.
        base: the model folder of the robot's network, with the same trunk and heads.
        folder: the folder to write; its name becomes the model's.
        version: version of the weights.

    Raises:
        ModelError: ONNX Runtime and torch give different results.
    """
    remote = remote.eval().float().requires_grad_(False)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest_data(base)
    own = sum(block['macs'] for block in manifest['blocks'].values())
    for section in ('blocks', 'variants'):
        for name, entry in manifest.get(section, {}).items():
            shutil.copyfile(base / entry['file'], folder / entry['file'])
            if SEGMENTATION in (name, entry.get('of')):
                expose_logits(folder / entry['file'])
                entry['sha256'] = sha256(folder / entry['file'])
    outputs = manifest['blocks'][SEGMENTATION]['outputs']
    outputs += [LOGITS] if LOGITS not in outputs else []
    # The confidence of the first stage does not apply to both stages.
    manifest['tasks'][SEGMENTATION].pop('confidence', None)
    graphs = cascade_graphs(remote)
    for graph in graphs:
        manifest['blocks'][graph.name] = _write_block(graph, folder, manifest['blocks'])
    for task in (DETECTION, SEGMENTATION):
        fields = manifest['tasks'][task]
        fields['early'] = fields['outputs']
        fields['outputs'] = {name: f'fused_{task}/{name}' for name in fields['early']}
    share = own / sum(block['macs'] for block in manifest['blocks'].values())
    manifest['paths'] = _paths(manifest.get('paths', []), share)
    manifest |= {'name': folder.name, 'version': version, 'accuracy': []}
    manifest['description'] = (
        f'{read_manifest_data(base)["name"]} and, if the gain is worth the cost, PicoDet-S and a '
        'wide dense head on both.'
    )
    for section in ('cut', 'policy', 'early_exit'):
        manifest.pop(section, None)
    write_manifest_data(folder, manifest)
    for size in PARITY_SIZES:
        check_cascade(graphs, folder, size)


def write_fusion(folder: Path, calibration: tuple[float, float]) -> None:
    """Write the fusion of boxes again, with slope and offset of the logits of its scores."""
    manifest = read_manifest_data(folder)
    graph = fusion_graph(torch.tensor(calibration))
    manifest['blocks'][graph.name] = _write_block(graph, folder, manifest['blocks'])
    write_manifest_data(folder, manifest)


def expose_logits(path: Path) -> None:
    """Add the logits at stride 4 to the outputs of a segmentation block that lacks them.

    Raises:
        ModelError: the block does not end with an argmax.
    """
    model = onnx.load(str(path))
    if LOGITS in [tensor.name for tensor in model.graph.output]:
        return
    made = {name: node for node in model.graph.node for name in node.output}
    last = [node for node in model.graph.node if node.op_type == 'ArgMax']
    if len(last) != 1:
        raise ModelError(f'{path}: expected one ArgMax, found {len(last)}')
    source = last[0].input[0]
    # A full head, which reads s4, doubles its logits for finer contours.
    is_full = 's4' in [tensor.name for tensor in model.graph.input]
    if is_full and made[source].op_type == 'Resize':
        source = made[source].input[0]
    model.graph.node.append(onnx.helper.make_node('Identity', [source], [LOGITS]))
    shape = (1, None, f'height_{LOGITS}', f'width_{LOGITS}')
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, shape)
    )
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def _paths(rows: list[dict[str, Any]], share: float) -> list[dict[str, Any]]:
    """Return the full path, and the base model's paths as early ones."""
    full = {'name': 'full', 'variants': [], 'scale': 1.0}
    full |= {'relative_macs': 1.0, 'relative_latency': 1.0, 'accuracy': {}}
    found = [full]
    for row in rows or [full]:
        name = FIRST if row['name'] == 'full' else row['name']
        costs = {key: round(row[key] * share, 4) for key in ('relative_macs', 'relative_latency')}
        found.append({**row, 'name': name, 'early': True, **costs, 'accuracy': {}})
    return found


def _write_block(graph: BlockGraph, folder: Path, blocks: Mapping[str, Any]) -> dict[str, Any]:
    given = inputs_of(graph, tensors_of(folder, blocks, REFERENCE_SIZE))
    path = folder / f'{graph.name}.onnx'
    export_block(graph, given, path)
    return block_entry(graph, given, sha256(path))


def tensors_of(
    folder: Path, blocks: Mapping[str, Any], size: tuple[int, int]
) -> dict[str, Tensor]:
    """Run the blocks that are written so far, in order, on an image of smooth noise."""
    tensors: dict[str, NDArray[Any]] = {'image': smooth_noise(size)}
    for name, entry in blocks.items():
        session = open_session(name, (folder / entry['file']).read_bytes())
        feeds = {key: tensors[source] for key, source in entry['inputs'].items()}
        made = session.run(entry['outputs'], feeds)
        tensors |= {f'{name}/{key}': v for key, v in zip(entry['outputs'], made, strict=True)}
    return {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in tensors.items()}


def check_cascade(graphs: Collection[BlockGraph], folder: Path, size: tuple[int, int]) -> None:
    """Compare the second network's exported blocks with torch, each on equal inputs.

    Raises:
        ModelError: an output's `difference` is above 1e-3.
    """
    blocks = read_manifest_data(folder)['blocks']
    tensors = tensors_of(folder, blocks, size)
    for graph in graphs:
        check_block(graph, folder / f'{graph.name}.onnx', tensors, selects_boxes=True)
