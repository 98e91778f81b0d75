# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The executor: the plan's blocks and no others; a failure reaches only its readers."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from tiny_model import fragile_head, with_confidence, write_tiny_model

from mt_perception.errors import TaskError
from mt_perception.execution.executor import Executor
from mt_perception.execution.frame_run import run_plan
from mt_perception.execution.plan import Plan, with_tensors
from mt_perception.model.folder import open_model
from mt_perception.model.manifest import Manifest
from mt_perception.model.sessions import load_sessions
from mt_perception.planning.path_plan import full_plan

WHITE = np.full((1, 32, 64, 3), 255, np.uint8)
BLACK = np.zeros((1, 32, 64, 3), np.uint8)


def load(folder: Path, **heads: onnx.ModelProto) -> tuple[Manifest, Executor]:
    model = open_model(write_tiny_model(folder, replace=heads))
    return model.manifest, Executor(load_sessions(model).by_block)


def keeping_everything(plan: Plan) -> Plan:
    stages = [replace(s, releases=((),) * len(s.blocks)) for s in plan.stages]
    return replace(plan, stages=tuple(stages))


def test_the_blocks_of_the_plan_run_in_order(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path)
    plan = keeping_everything(full_plan(manifest.graph, manifest.tasks))
    outcome = run_plan(executor, plan, WHITE)
    assert list(outcome.block_ms) == list(manifest.graph.blocks)
    assert all(0 < ms < 60_000 for ms in outcome.block_ms.values())
    np.testing.assert_allclose(outcome.tensor('trunk/s8'), np.ones((1, 3, 4, 8)), rtol=1e-6)
    assert outcome.tensor('detection/boxes').shape == (1, 32, 4)
    assert not outcome.failures


def test_what_nobody_wants_does_not_run(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path)
    outcome = run_plan(executor, full_plan(manifest.graph, ['depth']), WHITE)
    assert list(outcome.block_ms) == ['trunk', 'depth']
    with pytest.raises(TaskError, match="no block that computes 'detection/boxes' was run"):
        outcome.tensor('detection/boxes')
    assert not run_plan(executor, full_plan(manifest.graph, []), WHITE).block_ms


def test_a_head_that_raises_leaves_the_others(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path, depth=fragile_head())
    plan = full_plan(manifest.graph, manifest.tasks)
    outcome = run_plan(executor, plan, BLACK)
    assert set(outcome.failures) == {'depth/depth_per_focal'}
    with pytest.raises(TaskError, match="block 'depth' failed"):
        outcome.tensor('depth/depth_per_focal')
    assert outcome.tensor('segmentation/class_ids').shape == (1, 4, 8)
    assert not run_plan(executor, plan, WHITE).failures  # The next good frame works.


def test_a_trunk_that_raises_takes_its_readers_along(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path)
    flat = np.zeros((1, 32, 3), np.uint8)
    outcome = run_plan(executor, full_plan(manifest.graph, manifest.tasks), flat)
    assert list(outcome.block_ms) == ['trunk']
    with pytest.raises(TaskError, match="block 'trunk' failed"):
        outcome.tensor('segmentation/class_ids')


def test_a_tensor_is_kept_for_its_readers_only(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path)
    plan = full_plan(manifest.graph, ['segmentation', 'depth'])
    assert set(run_plan(executor, plan, WHITE).tensors) == {
        'segmentation/class_ids',
        'depth/depth_per_focal',
    }
    everything = run_plan(executor, keeping_everything(plan), WHITE).tensors
    assert set(everything) == {
        'image',
        'trunk/s8',
        'segmentation/class_ids',
        'depth/depth_per_focal',
    }


def test_shared_once_or_each_task_alone_is_the_same_to_the_bit(tmp_path: Path) -> None:
    manifest, executor = load(tmp_path)
    image = np.random.default_rng(0).integers(0, 255, (1, 32, 64, 3), np.uint8)
    shared = run_plan(executor, full_plan(manifest.graph, manifest.tasks), image)
    for task, tensors in manifest.graph.tasks.items():
        alone = run_plan(executor, full_plan(manifest.graph, [task]), image)
        for tensor in tensors:
            assert shared.tensor(tensor).tobytes() == alone.tensor(tensor).tobytes()


def test_an_output_that_nothing_reads_is_not_fetched(tmp_path: Path) -> None:
    model = open_model(with_confidence(tmp_path))
    graph, executor = model.manifest.graph, Executor(load_sessions(model).by_block)
    plan = full_plan(graph, ['segmentation', 'depth'])
    logits = 'segmentation/logits'
    assert logits not in run_plan(executor, keeping_everything(plan), WHITE).tensors
    wanted = run_plan(executor, with_tensors(plan, frozenset({logits, 'other/logits'})), WHITE)
    np.testing.assert_allclose(wanted.tensor(logits)[0, :, 0, 0], [0, 0, 0, 0.15], atol=1e-6)
    without = with_tensors(full_plan(graph, ['depth']), frozenset({logits}))
    assert list(run_plan(executor, without, WHITE).block_ms) == ['trunk', 'depth']


def test_heads_side_by_side_give_the_same_and_fail_alone(tmp_path: Path) -> None:
    model = open_model(write_tiny_model(tmp_path, replace={'depth': fragile_head()}))
    sessions = load_sessions(model).by_block
    plan = full_plan(model.manifest.graph, model.manifest.tasks)
    alone = run_plan(Executor(sessions), plan, BLACK)
    beside = run_plan(Executor(sessions, parallel=True), plan, BLACK)
    assert beside.failures == alone.failures
    assert set(beside.block_ms) == set(alone.block_ms)
    assert set(beside.tensors) == set(alone.tensors)
    for name, values in alone.tensors.items():
        np.testing.assert_array_equal(beside.tensors[name], values)


class Meeting:
    """Sessions of which two have to be in their run at the same time."""

    loaded_bytes = 0

    def __init__(self, names: Collection[str]) -> None:
        self._met = threading.Barrier(len(names))
        self._names = names

    def follow(self, blocks: Sequence[str]) -> None:
        pass

    def __getitem__(self, name: str) -> Meeting:
        self._name = name
        if name in self._names:
            self._met.wait(10)
        return self

    def run(self, outputs: list[str], feeds: Mapping[str, Any]) -> list[NDArray[Any]]:
        return [np.zeros(1) for _ in outputs]


def test_heads_run_at_the_same_time(tmp_path: Path) -> None:
    manifest = open_model(write_tiny_model(tmp_path)).manifest
    plan = full_plan(manifest.graph, ['detection', 'depth'])
    sessions = Meeting(('detection', 'depth'))
    outcome = run_plan(Executor(sessions, parallel=True), plan, BLACK)  # type: ignore[arg-type]
    assert not outcome.failures
    assert list(outcome.block_ms) == ['trunk', *(b.name for b in outcome.blocks[1:])]
