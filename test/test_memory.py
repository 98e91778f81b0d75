# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A memory budget: sessions come and go, results stay the same to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tiny_model import write_tiny_model

from mt_perception.errors import OptionError
from mt_perception.execution.executor import Executor
from mt_perception.execution.frame_run import run_plan
from mt_perception.model.folder import open_model
from mt_perception.model.sessions import load_sessions, open_session
from mt_perception.model.weight_residency import SessionStore
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_plan import full_plan
from mt_perception.types import Frame


def picture(seed: int) -> Frame:
    return Frame(np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8))


def test_the_same_results_in_less_memory(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    sizes = {name: len(content) for name, content in open_model(folder).contents.items()}
    least = max(sizes.values())
    roomy = Pipeline.load(folder)
    tight = Pipeline.load(folder, memory_mb=least / 1e6)
    for seed in range(3):
        expected, found = roomy.run(picture(seed)), tight.run(picture(seed))
        assert not found.failures
        assert expected.detections is not None
        assert found.detections is not None
        assert expected.depth is not None
        assert found.depth is not None
        assert expected.segmentation is not None
        assert found.segmentation is not None
        assert expected.detections.boxes.tobytes() == found.detections.boxes.tobytes()
        assert expected.depth.depth.tobytes() == found.depth.depth.tobytes()
        assert expected.segmentation.class_ids.tobytes() == found.segmentation.class_ids.tobytes()
        assert expected.execution.loaded_bytes == 0
        # The largest block leaves no room beside it; of the others something may stay.
        assert least < found.execution.loaded_bytes <= sum(sizes.values())
    # What is not wanted is not loaded: trunk and depth fit together.
    tight.run(picture(0), ['depth'])
    assert tight.run(picture(1), ['depth']).execution.loaded_bytes == 0


def test_the_budget_holds_whenever_a_session_is_open(tmp_path: Path) -> None:
    model = open_model(write_tiny_model(tmp_path))
    sizes = {name: len(content) for name, content in model.contents.items()}
    budget = sum(sizes.values()) - 1
    store: SessionStore

    def open_block(name: str) -> ort.InferenceSession:
        assert store.resident_bytes <= budget
        return open_session(name, model.contents[name])

    store = SessionStore(open_block, sizes, budget)
    executor = Executor(store)
    plan = full_plan(model.manifest.graph, model.manifest.tasks)
    image = np.zeros((1, 32, 32, 3), np.uint8)
    loaded = [run_plan(executor, plan, image).loaded_bytes for _ in range(5)]
    assert loaded[0] == sum(sizes.values())
    assert all(0 < later < loaded[0] for later in loaded[1:])
    assert store.loaded_bytes == sum(loaded)
    assert list(store) == list(sizes)
    assert len(store) == 4
    with pytest.raises(KeyError):
        store['normals']


def test_a_file_that_changes_while_its_block_is_out(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    largest = max(len(content) for content in open_model(folder).contents.values())
    pipeline = Pipeline.load(folder, memory_mb=largest / 1e6)
    file = folder / 'detection.onnx'
    content = file.read_bytes()
    pipeline.run(picture(0), ['depth'])  # Detection is as large as the budget: it is out now.
    file.write_bytes(content + b' ')
    result = pipeline.run(picture(0))
    assert result.detections is None
    assert 'not the file that the manifest describes' in result.failures['detection']
    assert result.depth is not None
    file.write_bytes(content)
    assert pipeline.run(picture(0)).detections is not None


def test_a_budget_that_one_block_exceeds(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path)
    with pytest.raises(OptionError, match="cannot hold block 'detection'"):
        Pipeline.load(folder, memory_mb=0.0005)
    assert list(load_sessions(open_model(folder), memory_mb=1).by_block)
