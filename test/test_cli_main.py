# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: every sub-command exists, help is cheap, errors are sentences."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.cli.main import SUB_COMMANDS, command_line, main
from mt_perception.evaluation.predictor import RunSettings

OPTIONAL = (
    'constriction',
    'grpc',
    'grpc_health',
    'jinja2',
    'matplotlib',
    'onnx',
    'ray',
    'rclpy',
    'torch',
    'prometheus_client',
    'tritonclient',
)
HEAVY = ('cv2', 'numpy', 'onnxruntime', 'rclpy', 'torch', 'rosbags')


def test_help_names_every_sub_command_and_imports_none() -> None:
    code = (
        'import sys; from mt_perception.cli.main import main; status = main(["--help"]);'
        f'print("loaded", [name for name in {HEAVY} if name in sys.modules]); sys.exit(status)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert 'loaded []' in done.stdout
    assert all(f'  {name} ' in done.stdout for name in SUB_COMMANDS)


@pytest.mark.parametrize('name', SUB_COMMANDS)
def test_every_sub_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, '--help']) == 0
    assert f'Usage: mt_perception {name}' in capsys.readouterr().out


def test_help_shows_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['run', '--help']) == 0
    words = ' '.join(capsys.readouterr().out.split())
    assert 'Folder of results. [default: out/run]' in words
    assert 'default: ""' not in words


def test_import_needs_onnx_only_for_networks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if '.importers' in name or '.import_' in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'onnx', None)
    assert main(['import', '--help']) == 0
    network = tmp_path / 'network.onnx'
    network.touch()
    command = ['import', str(tmp_path / 'model'), '--detection', str(network)]
    assert main([*command, '--size', 'large']) == 2
    assert '--size must be WIDTHxHEIGHT' in capsys.readouterr().err
    assert main(command) == 1
    assert 'onnx is not installed' in capsys.readouterr().err


def test_help_needs_no_extra() -> None:
    code = (
        'import sys; from mt_perception.cli.main import SUB_COMMANDS, main\n'
        f'for name in {OPTIONAL}: sys.modules[name] = None\n'
        'sys.exit(any([main([name, "--help"]) for name in SUB_COMMANDS]))'
    )
    done = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, '')


@pytest.mark.parametrize('name', SUB_COMMANDS)
def test_every_sub_command_is_documented(name: str) -> None:
    root = Path(__file__).resolve().parent.parent
    pages = [root / 'README.md', *(root / 'docs').glob('*.md')]
    assert any(f'mt_perception {name}' in page.read_text(encoding='utf-8') for page in pages)


def test_threads_have_the_documented_defaults() -> None:
    """One for what measures times, as for the node; all cores for what somebody waits for."""
    context = click.Context(command_line)
    found = {
        name: option.default
        for name in SUB_COMMANDS
        for option in command_line.get_command(context, name).params
        if option.name == 'threads'
    }
    assert found == {'run': 0, 'calibrate': 0, 'serve': 0, 'evaluate': 1, 'benchmark': 1}
    assert RunSettings().threads == 1


def test_an_unknown_sub_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['paint']) == 2
    assert 'paint' in capsys.readouterr().err


def test_an_expected_error_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', 'no-such-model']) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: model 'no-such-model' is neither")
    assert 'Traceback' not in error


def test_brackets_in_an_error_survive(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['inspect', 'no[red]such']) == 1
    assert 'no[red]such' in capsys.readouterr().err


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def raise_it(*arguments: object, **settings: object) -> None:
        raise error

    monkeypatch.setattr(command_line, 'main', raise_it)
    return main(['train'])


def test_errors_of_the_disk_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(PermissionError(errno.EACCES, 'Permission denied', 'a[b]'), monkeypatch) == 1
    assert capsys.readouterr().err.startswith('error: a[b]: Permission denied; check')
    assert fail_with(OSError(errno.ENOSPC, 'No space left on device'), monkeypatch) == 1
    assert capsys.readouterr().err.startswith('error: No space left on device; check')
    with pytest.raises(OSError, match='No such file'):
        fail_with(FileNotFoundError(errno.ENOENT, 'No such file', 'ours'), monkeypatch)


LOOP, LONG, NOBODY = 'loop', 'x' * 300, '~nobody-of-this-name/x'


@pytest.mark.parametrize('path', [LOOP, LONG, NOBODY])
@pytest.mark.parametrize(
    'command',
    [
        ['run', 'PATH'],
        ['run', 'PICTURE', '--out', 'PATH/out'],
        ['run', 'PICTURE', '--model', 'PATH'],
        [*('run', 'PICTURE', '--depth-scale', 'calibration'), '--depth-calibration', 'PATH'],
        ['evaluate', 'PATH', '--no-report'],
        ['evaluate', 'PICTURE', '--out', 'PATH/out', '--no-report'],
        ['inspect', 'PATH'],
        ['calibrate', 'PATH'],
        ['condition', 'depth if detection finds person', 'PATH'],
    ],
)
def test_a_path_that_cannot_be_is_an_error_in_one_sentence(
    command: list[str], path: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(LOOP).symlink_to(LOOP)
    cv2.imwrite('picture.png', np.zeros((8, 8, 3), np.uint8))
    given = [part.replace('PATH', path).replace('PICTURE', 'picture.png') for part in command]
    if '--model' not in given and command[0] != 'inspect':
        given += ['--model', str(tiny)]
    # The shell leaves the name of an unknown user as it is; a folder of this name can be made.
    made = path == NOBODY and '--out' in given
    assert main(given) == (0 if made else 1)


def test_a_tilde_in_an_output_is_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    model = write_tiny_model(tmp_path / 'model')
    assert main(['inspect', str(model), '--graph=~/graph.mmd']) == 0
    assert (tmp_path / 'home' / 'graph.mmd').is_file()
    assert not (tmp_path / '~').exists()


def test_a_missing_package_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, 'argv', ['mt_perception', 'train'])
    assert fail_with(ModuleNotFoundError('no torch', name='torch'), monkeypatch) == 1
    assert 'pip install torch==2.13.0' in capsys.readouterr().err


def test_a_missing_package_of_an_option_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, 'argv', ['mt_perception', 'run'])
    assert fail_with(ModuleNotFoundError('no grpc', name='grpc'), monkeypatch) == 1
    assert 'tritonclient[grpc]' in capsys.readouterr().err


def test_missing_ros_points_to_the_doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail_with(ModuleNotFoundError('no rclpy', name='rclpy.node'), monkeypatch) == 1
    assert 'mt_perception doctor' in capsys.readouterr().err


def test_the_demo_misses_ros_before_its_video(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    assert main(['demo']) == 1
    assert 'this needs ROS 2, but rclpy cannot be imported' in capsys.readouterr().err


def test_our_own_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ModuleNotFoundError('a defect', name='mt_perception.nowhere')
    with pytest.raises(ModuleNotFoundError):
        fail_with(error, monkeypatch)


def test_ctrl_c_has_the_exit_status_of_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail_with(KeyboardInterrupt(), monkeypatch) == 130
