# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sessions: execution providers that are there or not, and graphs that are not as described."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto
from tiny_model import tiny_blocks, write_tiny_model

from mt_perception.errors import ModelError, OptionError
from mt_perception.model.folder import ModelFolder, open_model
from mt_perception.model.providers import CPU, Provider, parse_providers
from mt_perception.model.sessions import load_sessions


@pytest.fixture
def model(tmp_path: Path) -> ModelFolder:
    return open_model(write_tiny_model(tmp_path))


def test_one_session_for_each_block(model: ModelFolder) -> None:
    sessions = load_sessions(model)
    assert list(sessions.by_block) == list(model.manifest.files)
    assert sessions.providers == (CPU,)
    assert sessions.warnings == ()


def test_threads_are_set_and_do_not_spin(model: ModelFolder) -> None:
    session = load_sessions(model, threads=2).by_block['trunk']
    options = session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.get_session_config_entry('session.intra_op.allow_spinning') == '0'


@pytest.mark.parametrize('name', ['cpu', 'CPU', 'CPUExecutionProvider', 'cpuexecutionprovider'])
def test_providers_go_by_short_and_long_names(model: ModelFolder, name: str) -> None:
    assert load_sessions(model, [name, name]).providers == (CPU,)


def test_a_provider_that_is_absent_falls_back_with_a_warning(model: ModelFolder) -> None:
    absent = next(n for n in ort.get_all_providers() if n not in ort.get_available_providers())
    sessions = load_sessions(model, [absent])
    assert sessions.providers == (CPU,)
    (warning,) = sessions.warnings
    assert absent in warning
    assert 'CPU' in warning


def test_options_of_a_provider() -> None:
    cuda, cpu = parse_providers(['cuda: {device_id: 1, use_tf32: false, gpu_mem_limit: 2000}'])
    assert cuda == Provider(
        'CUDAExecutionProvider', {'device_id': '1', 'use_tf32': 'False', 'gpu_mem_limit': '2000'}
    )
    assert cpu == Provider(CPU)


def test_the_first_mention_of_a_provider_counts() -> None:
    found = parse_providers(['CPU', 'OpenVINO: {device_type: CPU}', 'openvino'])
    assert [provider.name for provider in found] == [CPU, 'OpenVINOExecutionProvider']
    assert found[1].options == {'device_type': 'CPU'}


@pytest.mark.parametrize(
    'text',
    ['', '[CUDA]', '7', 'CUDA: 1', 'CUDA: {a: [1]}', '{CUDA: {}, CPU: {}}', 'CUDA: {a: {}}'],
)
def test_what_is_no_provider(text: str) -> None:
    with pytest.raises(OptionError, match='neither a name nor a name with options'):
        parse_providers([text])


def test_options_reach_onnx_runtime(model: ModelFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    session = ort.InferenceSession

    def record(content: bytes, options: object, **given: Any) -> ort.InferenceSession:
        seen.append((given['providers'], given['provider_options']))
        return session(content, options)

    monkeypatch.setattr(ort, 'InferenceSession', record)
    monkeypatch.setattr(ort, 'get_available_providers', lambda: ['CoreMLExecutionProvider', CPU])
    load_sessions(model, ['CoreML: {ModelFormat: MLProgram}', 'CUDA: {device_id: 1}'])
    assert seen[0] == (['CoreMLExecutionProvider', CPU], [{'ModelFormat': 'MLProgram'}, {}])


def test_an_option_that_a_provider_does_not_have_is_refused(
    model: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        OptionError, match="CPUExecutionProvider has no option 'device'; it has none"
    ):
        load_sessions(model, ['CPU: {device: 1}'])
    session, cuda = ort.InferenceSession, 'CUDAExecutionProvider'
    monkeypatch.setattr(ort, 'InferenceSession', lambda content, options, **_: session(content))
    monkeypatch.setattr(ort, 'get_available_providers', lambda: [cuda, CPU])
    reported = {cuda: {'device_id': '0', 'use_tf32': '1'}}
    monkeypatch.setattr(session, 'get_provider_options', lambda _: reported)
    with pytest.raises(OptionError, match="no option 'use_tf23'; it has device_id, use_tf32"):
        load_sessions(model, ['CUDA: {use_tf23: 0, device_id: 1}'])
    assert load_sessions(model, ['CUDA: {device_id: 1}']).providers


def test_a_provider_that_nobody_knows_is_refused(model: ModelFolder) -> None:
    with pytest.raises(ModelError, match=r"'kuda' is unknown; known are .*CPU"):
        load_sessions(model, ['kuda'])


def load_with(folder: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> str:
    proto = tiny_blocks()[name]
    change(proto)
    model = open_model(write_tiny_model(folder, replace={name: proto}))
    with pytest.raises(ModelError) as caught:
        load_sessions(model)
    return str(caught.value)


def _rename_output(proto: onnx.ModelProto) -> None:
    proto.graph.node[-1].output[0] = proto.graph.output[0].name = 'other'


def _rename_input(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = proto.graph.input[0].name = 'other'


def _fix_size(proto: onnx.ModelProto) -> None:
    shape = proto.graph.input[0].type.tensor_type.shape
    shape.dim[1].dim_value, shape.dim[2].dim_value = 416, 416


def _take_floats(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _unknown_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = 'Surprise'


@pytest.mark.parametrize(
    ('name', 'change', 'says'),
    [
        ('depth', _rename_output, 'outputs other; its manifest says depth_per_focal'),
        ('depth', _rename_input, 'inputs other; its manifest says s8'),
        ('trunk', _fix_size, 'dynamic height and width'),
        ('trunk', _take_floats, 'tensor(uint8)'),
        ('depth', _unknown_operator, 'refused by ONNX Runtime'),
    ],
)
def test_a_graph_that_is_not_what_the_manifest_says(
    tmp_path: Path, name: str, change: Callable[[onnx.ModelProto], None], says: str
) -> None:
    assert says in load_with(tmp_path, name, change)
