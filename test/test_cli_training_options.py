# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs and models are named by their folder, by the file that makes it one, or as installed."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from tiny_model import write_tiny_model

from mt_perception.cli.main import main
from mt_perception.cli.training_options import MODEL, RUN, RUN_OR_MODEL, RunOrModel
from mt_perception.resources import find_model


def read(kind: RunOrModel, value: object) -> Path:
    return Path(kind.convert(str(value), None, None))


def test_a_model_is_its_folder_its_manifest_or_an_installed_name(tmp_path: Path) -> None:
    model = write_tiny_model(tmp_path / 'tiny')
    for kind in (MODEL, RUN_OR_MODEL):
        assert read(kind, model) == model
        assert read(kind, model / 'manifest.yaml') == model
        assert read(kind, 'cspnano') == find_model('cspnano')
    assert find_model(str(model / 'manifest.yaml')) == model


def test_a_run_is_its_folder_or_its_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / 'checkpoint.pt'
    checkpoint.write_bytes(b'')
    for kind in (RUN, RUN_OR_MODEL):
        assert read(kind, tmp_path) == tmp_path
        assert read(kind, checkpoint) == tmp_path
    with pytest.raises(click.BadParameter, match='is a file; expected a model folder'):
        read(MODEL, checkpoint)


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        (RUN, 'the folder of a run or its checkpoint.pt'),
        (MODEL, 'a model folder or its manifest.yaml, or an installed model (.*cspnano'),
        (RUN_OR_MODEL, 'the folder of a run or its checkpoint.pt, or a model folder or its'),
    ],
)
def test_anything_else_says_what_to_pass(tmp_path: Path, kind: RunOrModel, expected: str) -> None:
    onnx = tmp_path / 'trunk.onnx'
    onnx.write_bytes(b'')
    pattern = expected.replace('(', r'\(')
    with pytest.raises(click.BadParameter, match=f'trunk.onnx.* is a file; expected {pattern}'):
        read(kind, onnx)
    with pytest.raises(click.BadParameter, match=f'does not exist; expected {pattern}'):
        read(kind, tmp_path / 'nothing')


def test_train_says_what_start_may_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text('')
    given = ('train', recipe, '--data', tmp_path, '--out', tmp_path / 'run', '--start', recipe)
    assert main([str(each) for each in given]) == 2
    printed = ' '.join(capsys.readouterr().err.split())
    assert 'is a file; expected the folder of a run or its checkpoint.pt' in printed
