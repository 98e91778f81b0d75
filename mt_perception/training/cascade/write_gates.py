# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrates a cascade's fused scores, fits its gates and adds them to its model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mt_perception.evaluation.datasets.parts import CHOOSE, Parts
from mt_perception.model.early_exit import GAIN, gate_name
from mt_perception.model.folder import read_manifest, read_manifest_data, write_manifest_data
from mt_perception.network.cascade_graphs import GateGraph
from mt_perception.network.graphs import BlockGraph
from mt_perception.network.macs import count_parameters
from mt_perception.training.cascade.fit_gates import (
    Comparison,
    Rule,
    choose,
    compare,
    fit,
    gains,
    thresholds,
)
from mt_perception.training.cascade.observe import NUMBERS, Observed, observe
from mt_perception.training.cascade.platt_scaling import (
    same_log_odds,
    score_matches,
    to_logits,
)
from mt_perception.training.cascade.write_cascade import tensors_of, write_fusion
from mt_perception.training.export.write_model import (
    REFERENCE_SIZE,
    export_onnx,
    inputs_of,
    sha256,
)
from mt_perception.types import DETECTION, Detections


def calibrated(seen: Observed) -> tuple[Observed, tuple[float, float]]:
    """Calibrate the scores of both stages together to those of the first stage.

    Frames with and without a second stage then rank in one list, and one threshold serves both.

    Returns:
        The results with calibrated scores, and slope and offset of the logits.
    """
    slope, offset = same_log_odds(
        *(score_matches(results, seen.samples) for results in (seen.first, seen.both))
    )
    both = []
    for result in seen.both:
        assert isinstance(result, Detections)
        logits = slope * to_logits(result.scores) + offset
        both.append(replace(result, scores=(1 / (1 + np.exp(-logits))).astype(np.float32)))
    return replace(seen, both=both), (slope, offset)


def calibrate_and_add_gates(folder: Path, data: Path, parts: Parts) -> Mapping[str, Comparison]:
    """Calibrate fused scores, fit the gates, and write both into the model folder.

    Both use the part `choose`. If no rule is better than chance, a task's gate returns the mean
    gain: it opens where its blocks are cheap, because another task's gate is open. If that is
    so for all tasks, there are no gates, and the planner mixes the full path and the first stage.

    Args:
        folder: the model folder of a cascade, with uncalibrated scores.
        data: the data folder.
        parts: lists the images.

    Returns:
        Task → the metrics of the rules that were compared.
    """
    seen = observe(folder, data, parts, CHOOSE)
    if DETECTION in seen:
        seen[DETECTION], calibration = calibrated(seen[DETECTION])
        write_fusion(folder, calibration)
    found: dict[str, Comparison] = {}
    rules: dict[str, Rule] = {}
    for task, one in seen.items():
        wanted = gains(one)
        found[task] = compare(one, wanted)
        chosen = one.labelled
        rules[task] = fit(one.numbers[chosen], wanted[chosen], choose(found[task]))
    manifest = read_manifest_data(folder)
    for old in manifest.pop('early_exit', {}).get('gates', {}).values():
        (folder / old['file']).unlink(missing_ok=True)
    if any(rule.columns for rule in rules.values()):
        manifest['early_exit'] = {
            'gates': {task: _write_gate(folder, task, rule) for task, rule in rules.items()},
            'thresholds': _thresholds(folder, seen, rules),
        }
    write_manifest_data(folder, manifest)
    return found


def _thresholds(
    folder: Path, seen: Mapping[str, Observed], rules: Mapping[str, Rule]
) -> dict[float, float]:
    predicted = {task: rule.gains(seen[task].numbers) for task, rule in rules.items()}
    return thresholds(read_manifest(folder), predicted)


def _write_gate(folder: Path, task: str, rule: Rule) -> dict[str, Any]:
    module, inputs = NUMBERS[task]
    weights = torch.from_numpy(rule.weights.astype(np.float32))
    gate = GateGraph(module(), weights, torch.tensor(rule.bias, dtype=torch.float32))
    graph = BlockGraph(gate_name(task), gate, inputs, (GAIN,))
    blocks = read_manifest_data(folder)['blocks']
    given = inputs_of(graph, tensors_of(folder, blocks, REFERENCE_SIZE))
    path = folder / f'{graph.name}.onnx'
    axes = {
        name: {i: f'{name}_{i}' for i in range(1, value.ndim) if i != value.ndim - 1 or i < 2}
        for name, value in zip(inputs, given, strict=True)
    }
    export_onnx(gate, given, path, tuple(inputs), graph.outputs, axes)
    return {
        'file': path.name,
        'sha256': sha256(path),
        'inputs': dict(inputs),
        'macs': len(rule.columns),
        'parameters': count_parameters(gate),
    }
