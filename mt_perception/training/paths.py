# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adds trained paths to a model folder: static graphs without what a path skips, and figures."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from mt_perception.errors import ModelError
from mt_perception.image.letterbox import fit
from mt_perception.network.gated import GatedNetwork
from mt_perception.network.gates import find_prices, without
from mt_perception.network.graphs import block_graphs
from mt_perception.network.multitask import Multitask, build
from mt_perception.pipeline import Pipeline
from mt_perception.runtime.manifest import parse_manifest
from mt_perception.runtime.model_folder import MANIFEST
from mt_perception.runtime.options import Options
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.export import (
    INPUT,
    PARITY_SIZES,
    REFERENCE_SIZE,
    ModelCard,
    block_entry,
    check_blocks,
    example,
    export_folder,
)
from mt_perception.training.figures import all_figures
from mt_perception.training.gates import Mask, read_masks
from mt_perception.training.recipe import Recipe, read_recipe
from mt_perception.types import Frame

RECIPE = 'recipe.yaml'

WORK = 'paths'
"""Folder of a run in which every path lies as a model of its own."""

# What most cameras of robots give; MACs and time are compared on it.
CAMERA = (480, 640)
_ROUNDS = 40
_FIGURES = {'detection': 'ap', 'segmentation': 'miou', 'depth': 'abs_rel'}


def has_paths(run: Path) -> bool:
    """Tell whether a run is one of lighter paths."""
    return (run / RECIPE).exists() and read_recipe(run / RECIPE).gating is not None


def path_size(scale: float) -> int:
    """Give the long side of a path's input at the model's own size."""
    return max(INPUT.multiple, round(INPUT.size * scale / INPUT.multiple) * INPUT.multiple)


def full_network(state: Mapping[str, Any]) -> Multitask:
    """Build the full network that a checkpoint of `train_gates` started from."""
    labels = state['detection_labels'], state['segmentation_labels']
    network = build(state['name'], *(len(names) for names in labels))
    network.load_state_dict(state['full'])
    return network.requires_grad_(False).eval()


def lighter_network(state: Mapping[str, Any]) -> GatedNetwork:
    """Build the averaged lighter network of a checkpoint of `train_gates`."""
    full = full_network(state)
    network = GatedNetwork(full, find_prices(full, REFERENCE_SIZE))
    network.load_state_dict(state['average'])
    return network.requires_grad_(False).eval()


def distinct(masks: Sequence[Mask]) -> dict[tuple[str, ...], str]:
    """Give the masks that differ, by what they skip, each with the first path that has it."""
    found: dict[tuple[str, ...], str] = {}
    for mask in masks:
        found.setdefault(mask.skipped, mask.name)
    return found


def export_paths(run: Path, model: Path, data: Path | None) -> None:
    """Add the paths of a run to a model folder; its blocks, and so its full path, do not change.

    Args:
        run: folder of a run of `train_gates`.
        model: the model folder, exported from the run that this one started from.
        data: the data folder to measure accuracy with, or None.

    Raises:
        ModelError: the run has no paths yet, or the model is not the one it started from.
    """
    state = load_checkpoint(run)
    masks = read_masks(state)
    if not masks:
        raise ModelError(f'{run}: its masks are not gathered yet; train it to the end')
    recipe = read_recipe(run / RECIPE)
    # Raises where the model's blocks are of other weights than those that the paths imitate.
    full = full_network(state)
    check_blocks(block_graphs(full), model, PARITY_SIZES[0])
    lighter = lighter_network(state)
    manifest = _plain(model)
    card = _card(manifest, state)
    variants: dict[str, Any] = {}
    for skipped, name in distinct(masks).items():
        # What skips nothing is the full network itself, at another size.
        network = static(lighter, skipped) if skipped else full
        export_folder(network, replace(card, name=name), run / WORK / name)
        changed = changed_blocks(full, network)
        variants |= _variants(network, name, changed, run / WORK / name, model)
    manifest['variants'] = variants
    manifest['paths'] = path_rows(run, model, masks, recipe, data, tuple(variants))
    write(model, manifest)


def static(network: Multitask, skipped: Sequence[str]) -> Multitask:
    """Give a path's network: without the units it skips, and without the policy."""
    smaller = without(network, skipped)
    if isinstance(smaller, GatedNetwork):
        del smaller.policy
    return smaller.eval()


def path_rows(
    run: Path,
    model: Path,
    masks: Sequence[Mask],
    recipe: Recipe,
    data: Path | None,
    variants: Sequence[str],
) -> list[dict[str, Any]]:
    """Give the manifest's rows of all paths, the full one first; measure time and accuracy."""
    pipelines = path_pipelines(run, model, masks)
    macs = [_macs(pipeline) for pipeline in pipelines]
    ms = interleaved_ms(pipelines)
    rows = []
    names = distinct(masks)
    for index, pipeline in enumerate(pipelines):
        mask = masks[index - 1] if index else None
        figures = {} if data is None else all_figures(pipeline, data, recipe)
        blocks = pipeline.manifest.graph.blocks
        rows.append(
            {
                'name': 'full' if mask is None else mask.name,
                'variants': []
                if mask is None
                else [v for b in blocks if (v := f'{b}_{names[mask.skipped]}') in variants],
                'scale': 1.0 if mask is None else mask.scale,
                'relative_macs': round(macs[index] / macs[0], 4),
                'relative_latency': round(ms[index] / ms[0], 3),
                'accuracy': {
                    task: round(figures[name], 4)
                    for task, name in _FIGURES.items()
                    if name in figures
                },
            }
        )
    return rows


def path_pipelines(run: Path, model: Path, masks: Sequence[Mask]) -> list[Pipeline]:
    """Open every path as a pipeline of its own, the full one first, at its own size."""
    names = distinct(masks)
    full = Pipeline.load(model, Options(size=INPUT.size))
    return [
        full,
        *(
            Pipeline.load(run / WORK / names[m.skipped], Options(size=path_size(m.scale)))
            for m in masks
        ),
    ]


def interleaved_ms(pipelines: Sequence[Pipeline]) -> list[float]:
    """Give the median time of every path on one frame; they take turns."""
    cv2.setNumThreads(1)
    image = np.random.default_rng(0).integers(0, 255, (*CAMERA, 3), np.uint8)
    frame = Frame(cv2.GaussianBlur(image, (0, 0), 5).astype(np.uint8))
    times: list[list[float]] = [[] for _ in pipelines]
    for _ in range(_ROUNDS):
        for pipeline, taken in zip(pipelines, times, strict=True):
            start = time.perf_counter()
            pipeline.run(frame)
            taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) * 1e3 for taken in times]


def write(model: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest that its reader accepts, all or nothing."""
    text = yaml.safe_dump(dict(manifest), sort_keys=False, width=99)
    parse_manifest(text)
    unfinished = model / f'{MANIFEST}.part'
    unfinished.write_text(text, encoding='utf-8')
    unfinished.replace(model / MANIFEST)


def read(model: Path) -> dict[str, Any]:
    """Read a manifest as plain data."""
    manifest: dict[str, Any] = yaml.safe_load((model / MANIFEST).read_text(encoding='utf-8'))
    return manifest


def _plain(model: Path) -> dict[str, Any]:
    """Read the manifest without the paths it may have, and write it so, for a first load."""
    manifest = {k: v for k, v in read(model).items() if k not in ('variants', 'paths', 'policy')}
    write(model, manifest)
    return manifest


def _card(manifest: Mapping[str, Any], state: Mapping[str, Any]) -> ModelCard:
    return ModelCard(
        name=manifest['name'],
        version=manifest['version'],
        licence=manifest['licence'],
        description='One path of a model, as a model of its own.',
        detection_labels=tuple(state['detection_labels']),
        segmentation_labels=tuple(state['segmentation_labels']),
    )


def changed_blocks(full: Multitask, network: Multitask) -> tuple[str, ...]:
    """Give the blocks in which a path skips something or has weights of its own."""
    found = []
    for block in block_graphs(network):
        ours, theirs = (n.get_submodule(block.name).state_dict() for n in (network, full))
        if ours.keys() != theirs.keys() or any(not v.equal(theirs[k]) for k, v in ours.items()):
            found.append(block.name)
    return tuple(found)


def _variants(
    network: Multitask, name: str, changed: Sequence[str], folder: Path, model: Path
) -> dict[str, Any]:
    """Copy a path's blocks into the model folder and give what the manifest says of them."""
    graphs = block_graphs(network)
    tensors = example(graphs, REFERENCE_SIZE)
    entries: dict[str, Any] = {}
    for graph in graphs:
        if graph.name not in changed:
            continue
        content = (folder / f'{graph.name}.onnx').read_bytes()
        (model / f'{graph.name}_{name}.onnx').write_bytes(content)
        given = [tensors[source] for source in graph.inputs.values()]
        entry = block_entry(graph, given, hashlib.sha256(content).hexdigest())
        entries[f'{graph.name}_{name}'] = {
            'of': graph.name,
            'file': f'{graph.name}_{name}.onnx',
            **{key: entry[key] for key in ('sha256', 'inputs', 'macs', 'parameters')},
        }
    return entries


def _macs(pipeline: Pipeline) -> int:
    """Give the multiply-accumulates of all tasks on a frame of the reference camera."""
    spec = pipeline.manifest.input
    size = fit(CAMERA, pipeline.network_long_side, spec.multiple).network_size
    graph = pipeline.manifest.graph
    return pipeline.manifest.macs_at(sum(b.macs for b in graph.blocks.values()), size)
