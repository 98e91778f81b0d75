# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adds trained paths to a model folder: static graphs without skipped units, and accuracy."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mt_perception.errors import ModelError
from mt_perception.execution.options import Options
from mt_perception.image.read import read_image
from mt_perception.model.folder import read_manifest_data, write_manifest_data
from mt_perception.network.gated import GatedNetwork
from mt_perception.network.gates import count_unit_costs, without
from mt_perception.network.graphs import block_graphs
from mt_perception.network.multitask import Multitask, build
from mt_perception.pipeline import Pipeline
from mt_perception.training.checkpoint import load_checkpoint, load_weights
from mt_perception.training.export.model_metrics import measure_metrics
from mt_perception.training.export.write_model import (
    INPUT,
    PARITY_SIZES,
    REFERENCE_SIZE,
    ModelCard,
    block_entry,
    check_blocks,
    example,
    export_folder,
    inputs_of,
    sha256,
)
from mt_perception.training.gating.masks import Changes, Mask, read_masks
from mt_perception.training.gating.path_losses import path_pipelines
from mt_perception.training.recipe import Recipe, read_recipe
from mt_perception.types import Frame

RECIPE = 'recipe.yaml'

WORK = 'paths'
"""Folder of a run that has every path as a model of its own."""

# Image size for the comparison of MACs and latency: VGA, common for robots' cameras.
CAMERA = (480, 640)
_PICTURES = 40
_METRICS = {'detection': 'ap', 'segmentation': 'miou', 'depth': 'abs_rel'}


def has_paths(run: Path) -> bool:
    """Return whether a run trained lighter paths."""
    return (run / RECIPE).exists() and read_recipe(run / RECIPE).gating is not None


def full_network(state: Mapping[str, Any]) -> Multitask:
    """Build the full network that a checkpoint of `train_gates` started from."""
    labels = state['detection_labels'], state['segmentation_labels']
    network = build(state['name'], *(len(names) for names in labels))
    load_weights(network, state, 'full')
    return network.requires_grad_(False).eval()


def lighter_network(state: Mapping[str, Any]) -> GatedNetwork:
    """Build the averaged lighter network of a checkpoint of `train_gates`."""
    full = full_network(state)
    network = GatedNetwork(full, count_unit_costs(full, REFERENCE_SIZE))
    load_weights(network, state, 'average')
    return network.requires_grad_(False).eval()


def distinct(masks: Sequence[Mask]) -> dict[Changes, str]:
    """Return the distinct changes of some masks, each with the first path that has it."""
    found: dict[Changes, str] = {}
    for mask in masks:
        found.setdefault(mask.changes, mask.name)
    return found


def export_paths(run: Path, model: Path, data: Path | None) -> None:
    """Add the paths of a run to a model folder; the full path does not change.

    Args:
        run: folder of a run of `train_gates`.
        model: the model folder, exported from the run that this one started from.
        data: the data folder, to measure accuracy; or None.

    Raises:
        ModelError: the run has no paths yet, or started from another model.
    """
    state = load_checkpoint(run)
    masks = read_masks(state)
    if not masks:
        raise ModelError(f'{run} has no masks yet; train it to the end')
    recipe = read_recipe(run / RECIPE)
    # Raises if the model has other weights than the network that the paths were distilled from.
    full = full_network(state)
    check_blocks(block_graphs(full), model, PARITY_SIZES[0])
    lighter = lighter_network(state)
    before = read_manifest_data(model).get('variants', {})
    manifest = _plain(model)
    card = _card(manifest, state)
    variants: dict[str, Any] = {}
    used: dict[Changes, list[str]] = {}
    for changes, name in distinct(masks).items():
        # A path without changes is the full network at another size.
        network = static(lighter, *changes) if any(changes) else full
        export_folder(network, replace(card, name=name), run / WORK / name)
        changed = changed_blocks(full, network)
        made = _variants(network, name, changed, run / WORK / name, model)
        used[changes] = list(made)
        variants |= made
    for old in {v['file'] for v in before.values()} - {v['file'] for v in variants.values()}:
        (model / old).unlink(missing_ok=True)
    manifest['variants'] = variants
    manifest['paths'] = _rows(manifest, masks, used)
    write_manifest_data(model, manifest)
    _measure(model, manifest, recipe, data)
    write_manifest_data(model, manifest)


def static(network: GatedNetwork, skipped: Sequence[str], light: Sequence[str]) -> Multitask:
    """Return a path's network, with its reduced heads and without its skipped units."""
    return without(network.with_light(light), skipped).eval()


def _rows(
    manifest: Mapping[str, Any], masks: Sequence[Mask], used: Mapping[Changes, list[str]]
) -> list[dict[str, Any]]:
    """Return the manifest's rows of all paths, before measurement."""
    spec, blocks, variants = INPUT, manifest['blocks'], manifest['variants']

    def macs(names: Sequence[str], scale: float) -> float:
        by_block = {name: block['macs'] for name, block in blocks.items()}
        by_block |= {variants[name]['of']: variants[name]['macs'] for name in names}
        height, width = spec.letterbox(CAMERA, spec.size, scale).network_size
        return float(sum(by_block.values()) * height * width)

    full = macs((), 1.0)
    rows = [_row('full', [], 1.0, 1.0)]
    for mask in masks:
        names = used[mask.changes]
        rows.append(_row(mask.name, names, mask.scale, macs(names, mask.scale) / full))
    return sorted(rows, key=lambda row: -row['relative_macs'])


def _row(name: str, variants: list[str], scale: float, macs: float) -> dict[str, Any]:
    share = round(macs, 4)
    return {
        'name': name,
        'variants': list(variants),
        'scale': scale,
        'relative_macs': share,
        'relative_latency': share,
        'accuracy': {},
    }


def _measure(model: Path, manifest: Mapping[str, Any], recipe: Recipe, data: Path | None) -> None:
    """Fill the rows with the latency of every path, and with data its accuracy."""
    pipelines = path_pipelines(model)
    for pipeline in pipelines:
        pipeline.options = Options()
    ms = interleaved_ms(pipelines, _frames(recipe, data))
    for row, taken, pipeline in zip(manifest['paths'], ms, pipelines, strict=True):
        row['relative_latency'] = round(taken / ms[0], 3)
        metrics = {} if data is None else measure_metrics(pipeline, data, recipe)
        row['accuracy'] = {
            task: round(metrics[name], 4) for task, name in _METRICS.items() if name in metrics
        }


def _frames(recipe: Recipe, data: Path | None) -> list[Frame]:
    """Return images for latency measurements; with data real ones, since detections take time."""
    if data is not None:
        folder = (data / recipe.detection_labels).parent / 'images'
        files = sorted(folder.iterdir())
        return [Frame(read_image(file)) for file in files[:: -(-len(files) // _PICTURES)]]
    image = np.random.default_rng(0).integers(0, 255, (*CAMERA, 3), np.uint8)
    return [Frame(cv2.GaussianBlur(image, (0, 0), 5).astype(np.uint8))] * _PICTURES


def interleaved_ms(pipelines: Sequence[Pipeline], frames: Sequence[Frame]) -> list[float]:
    """Return the median latency of every path per frame; paths alternate."""
    cv2.setNumThreads(1)
    times: list[list[float]] = [[] for _ in pipelines]
    for frame in (frames[0], *frames):
        for pipeline, taken in zip(pipelines, times, strict=True):
            start = time.perf_counter()
            pipeline.run(frame)
            taken.append(time.perf_counter() - start)
    return [float(np.median(taken[1:])) * 1e3 for taken in times]


def _plain(model: Path) -> dict[str, Any]:
    """Remove the paths of a manifest, write it, and return it."""
    manifest = {
        k: v
        for k, v in read_manifest_data(model).items()
        if k not in ('variants', 'paths', 'policy')
    }
    write_manifest_data(model, manifest)
    return manifest


def _card(manifest: Mapping[str, Any], state: Mapping[str, Any]) -> ModelCard:
    return ModelCard(
        name=manifest['name'],
        version=manifest['version'],
        licence=manifest['licence'],
        description='One path of a model.',
        detection_labels=tuple(state['detection_labels']),
        segmentation_labels=tuple(state['segmentation_labels']),
    )


def changed_blocks(full: Multitask, network: Multitask) -> tuple[str, ...]:
    """Return the blocks in which a path differs from the full network."""
    found = []
    for block in block_graphs(network):
        ours, theirs = (n.get_submodule(block.name).state_dict() for n in (network, full))
        if ours.keys() != theirs.keys() or any(not v.equal(theirs[k]) for k, v in ours.items()):
            found.append(block.name)
    return tuple(found)


def _variants(
    network: Multitask, name: str, changed: Sequence[str], folder: Path, model: Path
) -> dict[str, Any]:
    """Copy a path's blocks into the model folder and return their manifest entries."""
    graphs = block_graphs(network)
    tensors = example(graphs, REFERENCE_SIZE)
    entries: dict[str, Any] = {}
    for graph in graphs:
        if graph.name not in changed:
            continue
        target = model / f'{graph.name}_{name}.onnx'
        target.write_bytes((folder / f'{graph.name}.onnx').read_bytes())
        entry = block_entry(graph, inputs_of(graph, tensors), sha256(target))
        entries[f'{graph.name}_{name}'] = {
            'of': graph.name,
            'file': f'{graph.name}_{name}.onnx',
            **{key: entry[key] for key in ('sha256', 'inputs', 'macs', 'parameters')},
        }
    return entries
