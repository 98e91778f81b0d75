# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What `make` says before it installs anything, and when it installs again."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    path = ROOT / 'tools' / 'environment.py'
    spec = importlib.util.spec_from_file_location('environment', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_this_python_will_do(environment: ModuleType) -> None:
    environment.check_python(ros=False)


def test_an_old_python_is_refused(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'version_info', (3, 9, 18))
    with pytest.raises(environment.SetupError, match=r'Python 3\.9 is too old'):
        environment.check_python(ros=False)


def test_a_python_without_ros_wheels_is_refused_for_ros_only(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'version_info', (3, 15, 0))
    environment.check_python(ros=False)
    with pytest.raises(environment.SetupError, match=r'3\.10 to 3\.13, this is 3\.15'):
        environment.check_python(ros=True)


def test_another_machine_is_sent_to_apt(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('platform.machine', lambda: 'aarch64')
    environment.check_python(ros=False)
    with pytest.raises(environment.SetupError, match=r'aarch64; install ROS 2 from apt'):
        environment.check_python(ros=True)


def test_sourced_ros_serves_any_machine(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('platform.machine', lambda: 'aarch64')
    monkeypatch.setattr(environment, 'sourced_ros', lambda: True)
    environment.check_python(ros=True)


def test_what_is_installed_decides_when_to_install_again(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = environment.fingerprint()
    assert environment.fingerprint() == first
    monkeypatch.setattr(environment, 'sourced_ros', lambda: True)
    assert environment.fingerprint() != first
    monkeypatch.undo()
    monkeypatch.setattr(sys, 'version', 'another Python')
    assert environment.fingerprint() != first


def test_an_installation_with_more_extras_will_do(environment: ModuleType, tmp_path: Path) -> None:
    stamp = tmp_path / '.ready'
    assert not environment.is_ready(stamp, set())
    stamp.write_text('dev eval ros\nray\n')
    assert environment.is_ready(stamp, {'ros'})
    assert environment.is_ready(stamp, {'ros', 'eval', 'dev'})
    assert not environment.is_ready(stamp, {'ros', 'ray'})
    assert not environment.is_ready(stamp, {'de'})


def test_what_is_ready_is_not_installed_again(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[list[str], bool]] = []
    monkeypatch.setattr(environment, 'make', lambda folder, *wanted: made.append(wanted))
    for extras in ('--extras=dev,eval', '--extras=eval', '--extras=serve', '--extras=dev,eval'):
        monkeypatch.setattr(sys, 'argv', ['environment', str(tmp_path), extras])
        assert environment.main() == 0
    assert made == [(['dev', 'eval'], False), (['serve'], False)]


def test_an_environment_of_another_python_is_recognised(
    environment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert environment.is_of_this_python(Path(sys.executable))
    assert not environment.is_of_this_python(tmp_path / 'nothing')
    monkeypatch.setattr(sys, 'version', 'another Python')
    assert not environment.is_of_this_python(Path(sys.executable))


def test_apts_numpy_is_kept_to(environment: ModuleType, tmp_path: Path) -> None:
    import numpy as np

    path = environment.apt_constraints(tmp_path)
    generation = int(np.__version__.split('.')[0])
    assert path.read_text() == f'numpy<{generation + 1}\n'


def test_pip_that_fails_is_quoted(environment: ModuleType) -> None:
    with pytest.raises(environment.SetupError, match=r'(?s)no-such-option.*could not install'):
        environment.pip(Path(sys.executable), '--no-such-option')


def test_every_ros_wheel_is_pinned() -> None:
    pins = (ROOT / 'constraints-ros-jazzy.txt').read_text(encoding='utf-8').splitlines()
    assert all(line.count('==') == 1 for line in pins)
    pinned = dict(line.split('==') for line in pins)
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    wanted = [line.strip().strip("',") for line in setup.splitlines() if "'ros-jazzy-" in line]
    assert wanted
    for requirement in wanted:
        name, version = requirement.split('==')
        assert pinned[name] == version
