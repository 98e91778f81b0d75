# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The package as others get it: sdist and wheel, installed into an empty environment."""

from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest

import mt_perception
from mt_perception.model.folder import read_manifest

ROOT = Path(__file__).resolve().parent.parent
NOT_SHIPPED = shutil.ignore_patterns(
    '.git', '.venv*', '.*_cache', '__pycache__', 'build', 'out', 'runs', '*.egg-info', 'shared'
)
EXECUTABLES = ('perception', 'source', 'remote_host')


@pytest.fixture(scope='session')
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefix of an environment that holds our wheel, and sees its dependencies from here."""
    pytest.importorskip('setuptools', reason='builds the wheel; pip install "mt_perception[dev]"')
    folder = tmp_path_factory.mktemp('installed')
    # The wheel is built from the sdist, so that both are complete.
    run([sys.executable, str(ROOT / 'tools' / 'distributions.py'), str(folder)])
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    prefix = folder / 'environment'
    run([sys.executable, '-m', 'venv', '--without-pip', str(prefix)])
    python = prefix / 'bin' / 'python'
    wheel = next(folder.glob('*.whl'))
    run([*pip, '--python', str(python), 'install', '--no-deps', '--no-index', str(wheel)])
    site = Path(run([str(python), '-c', 'import site; print(site.getsitepackages()[0])']).strip())
    # A plain path: the editable installation beside them is not followed, so ours is imported.
    (site / 'dependencies.pth').write_text(sysconfig.get_path('purelib') + '\n')
    return prefix


# A PYTHONPATH would find the checkout before the wheel.
CLEAN = {k: v for k, v in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')}


def run(command: list[str], cwd: Path | None = None, env: Mapping[str, str] = CLEAN) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=cwd, env=env
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def environment(prefix: Path) -> dict[str, str]:
    """As after activating it and sourcing ROS."""
    return {
        **CLEAN,
        'PATH': f'{prefix}/bin:{os.environ["PATH"]}',
        'AMENT_PREFIX_PATH': f'{prefix}:{sys.prefix}',
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }


def test_the_wheel_is_imported_and_not_the_checkout(installed: Path) -> None:
    code = 'import mt_perception; print(mt_perception.__file__, mt_perception.__version__)'
    python = str(installed / 'bin' / 'python')
    file, version = run([python, '-c', code], cwd=installed).split()
    assert Path(file).is_relative_to(installed)
    assert version == mt_perception.__version__


def test_every_file_of_the_package_is_in_the_wheel(installed: Path) -> None:
    python = str(installed / 'bin' / 'python')
    code = 'import mt_perception; print(mt_perception.__path__[0])'
    package = Path(run([python, '-c', code], cwd=installed).strip())
    for path in (ROOT / 'mt_perception').rglob('*'):
        inside = path.relative_to(ROOT / 'mt_perception')
        if path.is_file() and '__pycache__' not in inside.parts:
            assert (package / inside).is_file(), inside


def test_share_files_are_where_ament_looks(installed: Path) -> None:
    share = installed / 'share'
    assert (share / 'ament_index/resource_index/packages/mt_perception').is_file()
    assert (share / 'mt_perception/package.xml').is_file()
    for top in ('config', 'launch', 'models'):
        for path in (ROOT / top).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                copy = share / 'mt_perception' / path.relative_to(ROOT)
                assert copy.read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize('name', EXECUTABLES)
def test_ros2_run_finds_the_executables(name: str, installed: Path) -> None:
    stub = installed / 'lib' / 'mt_perception' / name
    assert stat.S_IMODE(stub.stat().st_mode) & 0o555 == 0o555
    assert stub.read_text().startswith('#!/usr/bin/env python3\n')


def test_the_console_script_works_outside_the_checkout(installed: Path) -> None:
    command = [str(installed / 'bin' / 'mt_perception')]
    shown = run([*command, 'inspect'], cwd=installed, env=environment(installed))
    assert str(installed / 'share' / 'mt_perception') in shown.replace('\n', '')
    assert mt_perception.__version__ in run([*command, '--version'], cwd=installed)


def test_an_executable_starts_as_ros2_run_starts_it(installed: Path) -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    from ros_graph import DOMAIN_ID

    # What `ros2 run` does: package → prefix → lib/<package>/<executable>.
    lookup = (
        'from ament_index_python.packages import get_package_prefix;'
        'print(get_package_prefix("mt_perception"))'
    )
    python = str(installed / 'bin' / 'python')
    prefix = run([python, '-c', lookup], cwd=installed, env=environment(installed)).strip()
    assert Path(prefix) == installed
    program = str(Path(prefix, 'lib', 'mt_perception', 'source'))
    command = [program, '--ros-args', '-p', 'source:=/no/such/video.mp4']
    done = subprocess.run(
        command,
        env={**environment(installed), 'ROS_DOMAIN_ID': str(DOMAIN_ID)},
        cwd=installed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert '/no/such/video.mp4 does not exist' in done.stdout + done.stderr


def package_xml() -> ET.Element:
    return ET.parse(ROOT / 'package.xml').getroot()


def test_there_is_one_version() -> None:
    assert package_xml().findtext('version') == mt_perception.__version__
    citation = (ROOT / 'CITATION.cff').read_text(encoding='utf-8')
    assert f'\nversion: {mt_perception.__version__}\n' in citation


def test_addresses_are_those_of_package_xml(installed: Path) -> None:
    code = (
        'from importlib.metadata import metadata; found = metadata("mt_perception");'
        'print(found["Home-page"], found["Maintainer-email"], *found.get_all("Project-URL"))'
    )
    python = str(installed / 'bin' / 'python')
    shown = run([python, '-c', code], cwd=installed).split()
    maintainer = package_xml().find('maintainer')
    assert maintainer is not None
    urls = [element.text for element in package_xml().iter('url')]
    assert {*urls, maintainer.get('email')} <= set(shown)
    for path in (ROOT / 'mt_perception' / 'interfaces').glob('*/package.xml'):
        others = ET.parse(path).getroot().iter('maintainer')
        assert [other.get('email') for other in others] == [maintainer.get('email')], path


@pytest.mark.parametrize('pattern', ['*.*', 'docs/**/*.md', 'deploy/**/*', 'tools/*.py'])
def test_no_other_file_has_an_address_to_replace(pattern: str) -> None:
    for path in ROOT.glob(pattern):
        if path.is_file() and path.name not in ('package.xml', 'CONTRIBUTING.md'):
            assert b'example.org' not in path.read_bytes(), path


def test_bloom_reads_the_changelog_and_package_xml() -> None:
    pytest.importorskip('catkin_pkg', reason='pip install "mt_perception[test]"')
    from catkin_pkg.changelog import get_changelog_from_path
    from catkin_pkg.package import parse_package

    package = parse_package(str(ROOT / 'package.xml'))
    package.validate()
    changelog = get_changelog_from_path(str(ROOT / 'CHANGELOG.rst'), package.name)
    # Oldest first.
    *_, newest = (version for version, *_ in changelog.foreach_version() if version[0].isdigit())
    assert newest == package.version


def test_no_model_is_newer_than_the_package() -> None:
    # A model has the version of the release that changed it last.
    def numbers(version: str) -> tuple[int, ...]:
        return tuple(map(int, version.split('.')))

    for folder in (ROOT / 'models').iterdir():
        assert numbers(read_manifest(folder).version) <= numbers(mt_perception.__version__)


def test_package_xml_names_every_ros_package_that_is_imported() -> None:
    named = {element.text for element in package_xml().iter('exec_depend')}
    used = set()
    for path in [
        *(ROOT / 'mt_perception' / 'nodes').glob('*.py'),
        *(ROOT / 'launch').glob('*.py'),
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                used |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module.split('.')[0])
    ros = {
        name
        for name in used
        if re.fullmatch(r'rclpy|launch(_ros)?|\w+_(msgs|srvs|interfaces|python)', name)
    }
    assert ros <= named


def test_every_stub_is_named_here() -> None:
    stubs = {path.name for path in (ROOT / 'lib' / 'mt_perception').iterdir()}
    assert stubs == set(EXECUTABLES)
