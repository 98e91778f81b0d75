# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The example that trains on own images does so, from the shipped weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

import tiny_data
from test_examples import example

from mt_perception.pipeline import Pipeline


def test_train(tmp_path: Path) -> None:
    index = tiny_data.write_coco(tmp_path / 'mine', images=12) / 'instances.json'
    # As an annotation tool writes it: without splits.
    content = json.loads(index.read_text())
    for image in content['images']:
        del image['coco_split']
    index.write_text(json.dumps(content))
    example('train').main(str(tmp_path / 'mine'), str(tmp_path / 'model'), '1')
    pipeline = Pipeline.load(tmp_path / 'model')
    assert pipeline.manifest.tasks['detection'].labels == tiny_data.LABELS
    result = pipeline.run(np.zeros((96, 128, 3), np.uint8))
    assert result.detections is not None
    assert not result.failures
