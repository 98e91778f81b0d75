# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The first run of a model in a child process: limits hold, and all problems are reported."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_model import broken_head, depth_head, tiny_blocks, write_tiny_model

from mt_perception.cli.main import main
from mt_perception.errors import ModelError
from mt_perception.first_run import ensure_runs, first_run


def head(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A depth head of these nodes; they read s8 and make depth_per_focal."""
    graph = helper.make_graph(
        nodes,
        'head',
        [helper.make_tensor_value_info('s8', TensorProto.FLOAT, (1, 3, 'h', 'w'))],
        [helper.make_tensor_value_info('depth_per_focal', TensorProto.FLOAT, (1, 'h', 'w'))],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def endless() -> onnx.ModelProto:
    """A head that loops 2^62 times over a sum of its input."""
    body = helper.make_graph(
        [
            helper.make_node('Identity', ['on'], ['go']),
            helper.make_node('Add', ['x', 'x'], ['y']),
        ],
        'body',
        [
            helper.make_tensor_value_info('i', TensorProto.INT64, ()),
            helper.make_tensor_value_info('on', TensorProto.BOOL, ()),
            helper.make_tensor_value_info('x', TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info('go', TensorProto.BOOL, ()),
            helper.make_tensor_value_info('y', TensorProto.FLOAT, None),
        ],
    )
    return head(
        [
            helper.make_node('ReduceMean', ['s8'], ['mean'], axes=[1], keepdims=0),
            helper.make_node('Loop', ['times', 'yes', 'mean'], ['depth_per_focal'], body=body),
        ],
        {'times': np.array(1 << 62, np.int64), 'yes': np.array(True)},
    )


def greedy() -> onnx.ModelProto:
    """A head that asks for 16 GiB."""
    return head(
        [
            helper.make_node('ConstantOfShape', ['shape'], ['huge']),
            helper.make_node('ReduceMax', ['huge'], ['zero'], keepdims=0),
            helper.make_node('ReduceMean', ['s8'], ['mean'], axes=[1], keepdims=0),
            helper.make_node('Add', ['mean', 'zero'], ['depth_per_focal']),
        ],
        {'shape': np.array([1 << 32], np.int64)},
    )


def test_a_graph_without_end_is_stopped(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path, replace={'depth': endless()})
    assert 'within 6 s' in first_run(folder, timeout_s=6).problems[0]


def test_a_graph_that_wants_all_memory_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path, replace={'depth': greedy()})
    (problem,) = first_run(folder).problems
    assert 'memory' in problem or 'allocate' in problem


def test_all_problems_are_reported_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_blocks()['detection']
    other.graph.output[0].name = other.graph.node[-1].output[0] = 'corners4'
    replace = {'detection': other, 'depth': broken_head('depth')}
    folder = write_tiny_model(tmp_path, replace=replace)
    problems = first_run(folder).problems
    assert len(problems) == 2
    assert 'corners4' in problems[0]
    assert main(['inspect', str(folder)]) == 1
    said = ' '.join(capsys.readouterr().err.split())
    assert '2 problems' in said
    for name in ('trunk', 'segmentation'):
        (folder / f'{name}.onnx').write_bytes(b'x')
    assert main(['inspect', str(folder)]) == 1
    said = ' '.join(capsys.readouterr().err.split())
    assert 'trunk.onnx is not the file' in said
    assert 'segmentation.onnx is not the file' in said


def test_inspect_refuses_what_run_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_model(tmp_path, replace={'depth': broken_head()})
    assert main(['inspect', str(folder)]) == 1
    assert 'does not do what its manifest says' in ' '.join(capsys.readouterr().err.split())


def test_an_image_and_what_is_suspicious_about_its_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_tiny_model(tmp_path / 'model')
    grey, colours = tmp_path / 'grey.png', tmp_path / 'colours.png'
    cv2.imwrite(str(grey), np.full((64, 64, 3), 90, np.uint8))
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :, 2] = 255
    picture[32:] = 90
    cv2.imwrite(str(colours), picture)
    found = first_run(folder, colours, tmp_path / 'panels.png')
    assert (found.problems, found.warnings) == ((), ())
    assert found.detections > 0
    assert cv2.imread(str(tmp_path / 'panels.png')).shape[0] > 600
    said = first_run(folder, grey).warnings
    assert [sentence.split(':')[0] for sentence in said] == ['detection', 'segmentation', 'depth']
    assert main(['inspect', str(folder), '--image', str(grey)]) == 0
    assert 'warning: detection: no box' in ' '.join(capsys.readouterr().out.split())
    bad = tmp_path / 'bad.png'
    bad.write_bytes(b'no image')
    assert first_run(folder, bad).problems


def test_a_model_that_passed_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folder = write_tiny_model(tmp_path / 'model')
    ensure_runs(folder)
    (stamp,) = (tmp_path / 'cache').rglob('*/checked_models/*')
    monkeypatch.setattr('mt_perception.first_run.first_run', None)
    ensure_runs(folder)
    stamp.unlink()
    with pytest.raises(TypeError):
        ensure_runs(folder)


def test_a_model_that_failed_is_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    folder = write_tiny_model(tmp_path / 'model', replace={'depth': broken_head()})
    for _ in range(2):
        with pytest.raises(ModelError, match='does not do what'):
            ensure_runs(folder)
    write_tiny_model(folder, replace={'depth': depth_head(0.01)})
    monkeypatch.setenv('XDG_CACHE_HOME', '/dev/null/cache')
    ensure_runs(folder)
