# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The executor: the plan's blocks and no others; a failure reaches only its readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_model import fragile_head, write_tiny_model

from mt_perception.errors import TaskError
from mt_perception.graph.plan import full_plan
from mt_perception.runtime.executor import Executor
from mt_perception.runtime.manifest import Manifest
from mt_perception.runtime.model_folder import open_model
from mt_perception.runtime.sessions import load_sessions

WHITE = np.full((1, 32, 64, 3), 255, np.uint8)
BLACK = np.zeros((1, 32, 64, 3), np.uint8)


def load(folder: Path, **replace: onnx.ModelProto) -> tuple[Manifest, Executor]:
    model = open_model(write_tiny_model(folder, replace=replace))
    return model.manifest, Executor(load_sessions(model).by_block)


def test_the_blocks_of_the_plan_run_in_order(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path)
    outcome = executor.run(full_plan(manifest.graph, manifest.tasks), WHITE)
    assert list(outcome.latency_ms) == list(manifest.graph.blocks)
    assert all(ms > 0 for ms in outcome.latency_ms.values())
    np.testing.assert_allclose(outcome.tensor('trunk/s8'), np.ones((1, 3, 4, 8)), rtol=1e-6)
    assert outcome.tensor('detection/boxes').shape == (1, 32, 4)
    assert not outcome.failures


def test_what_nobody_wants_does_not_run(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path)
    outcome = executor.run(full_plan(manifest.graph, ['depth']), WHITE)
    assert list(outcome.latency_ms) == ['trunk', 'depth']
    with pytest.raises(TaskError, match="no block that makes 'detection/boxes' was run"):
        outcome.tensor('detection/boxes')
    assert not executor.run(full_plan(manifest.graph, []), WHITE).latency_ms


def test_a_head_that_raises_leaves_the_others(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path, depth=fragile_head())
    plan = full_plan(manifest.graph, manifest.tasks)
    outcome = executor.run(plan, BLACK)
    assert set(outcome.failures) == {'depth/depth_per_focal'}
    with pytest.raises(TaskError, match="block 'depth' failed"):
        outcome.tensor('depth/depth_per_focal')
    assert outcome.tensor('segmentation/class_ids').shape == (1, 4, 8)
    assert not executor.run(plan, WHITE).failures  # The next good frame works.


def test_a_trunk_that_raises_takes_its_readers_along(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path)
    flat = np.zeros((1, 32, 3), np.uint8)
    outcome = executor.run(full_plan(manifest.graph, manifest.tasks), flat)
    assert list(outcome.latency_ms) == ['trunk']
    with pytest.raises(TaskError, match="block 'trunk' failed"):
        outcome.tensor('segmentation/class_ids')
