# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The Triton repository: valid by Triton's own schema, wired as the task graph is."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
from google.protobuf import text_format
from tiny_cut import write_tiny_cut
from tiny_model import write_tiny_model
from tritonclient.grpc import model_config_pb2 as config

from mt_perception.errors import ModelError

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / 'tools'))
from triton_repository import write_repository


def test_every_tensor_has_one_maker_and_the_types_fit(tmp_path: Path) -> None:
    folder = write_tiny_cut(tmp_path / 'model')
    models = write_repository(folder, tmp_path / 'repository')
    assert models[0] == 'tiny_decode'
    assert models[-1] == 'tiny'
    configs = {
        name: text_format.Parse(
            (tmp_path / 'repository' / name / 'config.pbtxt').read_text(), config.ModelConfig()
        )
        for name in models
    }
    ensemble = configs['tiny']
    known = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        inputs = {t.name: (t.data_type, list(t.dims)) for t in configs[step.model_name].input}
        assert step.input_map.keys() == inputs.keys()
        for name, tensor in step.input_map.items():
            kind, dims = known[tensor]
            assert kind == inputs[name][0]
            assert len(dims) == len(inputs[name][1])
        for output in configs[step.model_name].output:
            tensor = step.output_map[output.name]
            assert tensor not in known
            known[tensor] = output.data_type, list(output.dims)
    for output in ensemble.output:
        assert known[output.name] == (output.data_type, list(output.dims))
    assert {output.name for output in ensemble.output} >= {
        'detection/boxes',
        'depth/depth_per_focal',
    }
    for name in models[1:-1]:
        assert (tmp_path / 'repository' / name / '1' / 'model.onnx').is_file()
    ast.parse((tmp_path / 'repository' / 'tiny_decode' / '1' / 'model.py').read_text())


def test_a_model_without_a_cut(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='has no cut'):
        write_repository(write_tiny_model(tmp_path / 'model'), tmp_path / 'repository')
