# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Containers and workflows name commands, options, files and targets that exist.

None of them runs in a test: there is no container daemon. Their first lines say so.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from mt_perception.cli.main import command_line

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / 'Dockerfile').read_text(encoding='utf-8')
WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
NOT_RUN = [
    ROOT / 'Dockerfile',
    ROOT / 'deploy' / 'compose.yaml',
    ROOT / '.devcontainer' / 'devcontainer.json',
    ROOT / 'pixi.toml',
    *WORKFLOWS,
]


@pytest.mark.parametrize('file', NOT_RUN, ids=lambda file: file.name)
def test_files_that_were_not_run_state_it_in_the_first_lines(file: Path) -> None:
    assert re.match(r'(#|//) Not (run|built) yet', file.read_text(encoding='utf-8'))


def test_images_have_no_root_user() -> None:
    stages = re.split(r'^FROM ', DOCKERFILE, flags=re.MULTILINE)[1:]
    for stage in stages:
        base = stage.split()[0]
        if ' AS wheel' not in stage.splitlines()[0] and base != 'runtime':
            assert re.search(r'^USER robot$', stage, re.MULTILINE), stage
    # Without --target the image of the last stage, which needs no ROS.
    assert stages[-1].split() == ['runtime']


def test_the_image_installs_extras_that_exist() -> None:
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    for names in re.findall(r'\.whl\)\[([\w,]+)\]', DOCKERFILE):
        for name in names.split(','):
            assert f"'{name}': [" in setup


def test_commands_of_the_services_are_valid(tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / 'deploy' / 'compose.yaml').read_text())['services']
    assert set(services) == {'host', 'robot'}
    for service in services.values():
        assert (ROOT / 'deploy' / service['build'] / 'Dockerfile').is_file()
        name, *arguments = service['command']
        command = command_line.get_command(click.Context(command_line), name)
        assert command is not None
        command.make_context(name, list(arguments))
    assert services['robot']['networks'] == services['host']['networks']


def steps(workflow: Path) -> list[str]:
    data = yaml.safe_load(workflow.read_text(encoding='utf-8'))
    jobs: dict[str, dict[str, Any]] = data['jobs']
    assert data['permissions'] == {'contents': 'read'}
    return [step['run'] for job in jobs.values() for step in job['steps'] if 'run' in step]


def test_workflows_run_targets_that_exist() -> None:
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    called = [word for file in WORKFLOWS for text in steps(file)
              for words in re.findall(r'\bmake ((?:[a-z][a-z-]* ?)+)$', text, re.MULTILINE)
              for word in words.split()]  # fmt: skip
    assert {'lint', 'test', 'docs', 'wheel'} <= set(called)
    for target in called:
        assert re.search(f'^{target}:', makefile, re.MULTILINE), target


def test_the_editor_knows_the_schema_of_manifests() -> None:
    text = (ROOT / '.devcontainer' / 'devcontainer.json').read_text(encoding='utf-8')
    data = json.loads(text.split('\n', 1)[1])
    for schema in data['customizations']['vscode']['settings']['yaml.schemas']:
        assert (ROOT / schema).is_file()
    assert 'make lint' in data['postCreateCommand']


def test_pixi_installs_extras_that_exist() -> None:
    tomllib = pytest.importorskip('tomllib', reason='Python 3.11')
    data = tomllib.loads((ROOT / 'pixi.toml').read_text(encoding='utf-8'))
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    for name in data['pypi-dependencies']['mt_perception']['extras']:
        assert f"'{name}': [" in setup
    depends = (ROOT / 'package.xml').read_text(encoding='utf-8')
    for package in ('rclpy', 'launch_ros', 'sensor_msgs', 'diagnostic_msgs', 'vision_msgs'):
        assert f'<exec_depend>{package}<' in depends
        assert f'ros-jazzy-{package.replace("_", "-")}' in data['dependencies']
