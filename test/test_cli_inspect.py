# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception inspect`` on sound and damaged model folders."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_model import write_tiny_model
from tiny_paths import write_tiny_paths

from mt_perception.cli.main import main


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_model(tmp_path / 'tiny')


def test_a_sound_model_is_shown(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', str(tiny)]) == 0
    shown = capsys.readouterr().out
    for part in ('trunk', 'detection', 'segmentation', 'depth', 'blue, green, red', 'sha256', '✓'):
        assert part in shown


def test_a_changed_file_is_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = next(tiny.glob('*.onnx'))
    file.write_bytes(file.read_bytes() + b'\0')
    assert main(['inspect', str(tiny)]) == 1
    assert 'not the file that the manifest describes' in ' '.join(capsys.readouterr().err.split())


def test_a_missing_file_is_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(tiny.glob('*.onnx')).unlink()
    assert main(['inspect', str(tiny)]) == 1
    assert 'cannot be read' in ' '.join(capsys.readouterr().err.split())


def test_markup_in_a_manifest_is_only_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def rename(manifest: dict[str, object]) -> None:
        manifest['description'] = 'it says [bold red]nothing[/] [/'

    folder = write_tiny_model(tmp_path / 'tiny', edit=rename)
    assert main(['inspect', str(folder)]) == 0
    assert 'it says [bold red]nothing[/] [/' in capsys.readouterr().out


def test_the_shipped_model_is_sound(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', str(model_path), '--labels']) == 0
    shown = capsys.readouterr().out
    assert 'toothbrush' in shown
    for part in ('bytes a frame', 'MMAC on the robot', 'on a remote host'):
        assert part in shown


@pytest.mark.parametrize(
    ('suffix', 'start'), [('.mmd', '---\ntitle: "tiny 1"'), ('.dot', 'digraph')]
)
def test_the_graph_is_written(
    tiny: Path, suffix: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tiny / f'graph{suffix}'
    assert main(['inspect', str(tiny), '--graph', str(file)]) == 0
    assert 'shared by detection, segmentation, depth' in capsys.readouterr().out
    assert file.read_text(encoding='utf-8').startswith(start)
    assert main(['inspect', str(tiny), '--graph', str(file / 'below' / file.name)]) == 1
    assert 'cannot write to' in ' '.join(capsys.readouterr().err.split())


def test_a_graph_of_another_format_is_refused(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['inspect', str(tiny), '--graph', str(tiny / 'graph.png')]) == 1
    assert 'ends in .mmd or .dot' in ' '.join(capsys.readouterr().err.split())


def test_paths_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', str(write_tiny_paths(tmp_path))]) == 0
    shown = ' '.join(capsys.readouterr().out.split())
    assert 'trunk_light trunk_light.onnx' in shown
    assert 'small trunk_light 32 0.25 0.25 0.300 0.300 0.167' in shown
    assert 'chosen by a policy' in shown
