# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files: what they declare, and what they start with which arguments.

``launch`` cannot be had from PyPI; here stand-ins record what the files ask of it.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from mt_perception.nodes.host_parameters import RemoteHostSettings
from mt_perception.nodes.main import VARIABLES
from mt_perception.nodes.parameters import PerceptionSettings, SourceSettings

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
MODULES = {
    'launch': ('LaunchContext', 'LaunchDescription'),
    'launch.actions': (
        *('DeclareLaunchArgument', 'GroupAction', 'IncludeLaunchDescription', 'LogInfo'),
        *('OpaqueFunction', 'RegisterEventHandler', 'SetEnvironmentVariable', 'Shutdown'),
    ),
    'launch.conditions': ('IfCondition',),
    'launch.event_handlers': ('OnProcessExit',),
    'launch.launch_description_entity': ('LaunchDescriptionEntity',),
    'launch.launch_description_sources': ('PythonLaunchDescriptionSource',),
    'launch.substitutions': ('LaunchConfiguration',),
    'launch_ros.actions': ('Node',),
}


class Recorded(SimpleNamespace):
    """Whatever launch would make of it: the kind, and what it was made from."""

    def perform(self, context: dict[str, str]) -> str:
        return context[self.args[0]]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a launch file: (name, arguments) → its actions."""

    def recorder(kind: str) -> Any:
        return lambda *args, **kwargs: Recorded(kind=kind, args=args, **kwargs)

    for name, kinds in MODULES.items():
        module = ModuleType(name)
        for kind in kinds:
            setattr(module, kind, recorder(kind))
        monkeypatch.setitem(sys.modules, name, module)
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)

    def launch(name: str, **given: str) -> list[Any]:
        file = runpy.run_path(str(ROOT / 'launch' / f'{name}.launch.py'))
        actions = flat(file['generate_launch_description']().args[0])
        context = {a.args[0]: a.default_value for a in actions if is_argument(a)}
        assert given.keys() <= context.keys()
        context.update(given)
        made = [
            made
            for action in actions
            if action.kind == 'OpaqueFunction'
            for made in action.function(context)
        ]
        return actions + made

    return launch


def flat(actions: list[Any]) -> list[Any]:
    """Actions, with those inside groups."""
    found = []
    for action in actions:
        found += flat(action.args[0]) if action.kind == 'GroupAction' else [action]
    return found


def is_argument(action: Any) -> bool:
    return bool(action.kind == 'DeclareLaunchArgument')


def arguments(actions: list[Any]) -> set[str]:
    return {action.args[0] for action in actions if is_argument(action)}


def only_node(actions: list[Any]) -> Any:
    (node,) = [action for action in actions if action.kind == 'Node']
    return node


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_every_argument_is_explained(file: Path, launched: Any) -> None:
    for action in launched(file.name.removesuffix('.launch.py'), **needed(file)):
        if is_argument(action):
            assert action.description.endswith('.')


def needed(file: Path) -> dict[str, str]:
    return {'bag': 'my_bag'} if file.name.startswith('replay') else {}


def test_perception_takes_the_arguments_of_the_field(launched: Any) -> None:
    assert arguments(launched('perception')) == {
        *('namespace', 'params_file', 'use_sim_time', 'autostart', 'log_level', 'use_respawn'),
        *('use_rviz', 'image', 'camera_info', 'model'),
    }


def test_perception_by_default_leaves_everything_to_the_file(launched: Any) -> None:
    node = only_node(launched('perception'))
    file, overrides = node.parameters
    assert Path(file) == ROOT / 'config' / 'mt_perception.params.yaml'
    assert Path(file).is_file()
    assert overrides == {'use_sim_time': False}
    assert node.remappings == [('image', 'image')]
    assert (node.name, node.executable, node.respawn) == ('perception', 'perception', False)
    assert (ROOT / 'lib' / node.package / node.executable).is_file()


def test_perception_passes_on_what_is_given(launched: Any) -> None:
    given = {
        'namespace': 'robot1',
        'image': '/camera/image_raw',
        'camera_info': '/other/camera_info',
        'model': 'small',
        'autostart': 'False',
        'use_sim_time': 'true',
        'use_respawn': 'True',
        'log_level': 'debug',
    }
    node = only_node(launched('perception', **given))
    assert node.namespace == 'robot1'
    assert node.remappings == [
        ('image', '/camera/image_raw'),
        ('camera_info', '/other/camera_info'),
    ]
    overrides = node.parameters[1]
    assert overrides == {'use_sim_time': True, 'model': 'small', 'autostart': False}
    names = {p.name for p in PerceptionSettings.parameters()}
    assert overrides.keys() - {'use_sim_time'} <= names
    assert node.respawn is True
    assert node.ros_arguments == ['--log-level', 'debug']


def test_replay_plays_the_bag_and_ends_with_it(launched: Any) -> None:
    actions = launched('replay', bag='my_bag', image='/camera/image_raw', rate_hz='5')
    node = only_node(actions)
    overrides = node.parameters[1]
    assert (overrides['source'], overrides['topic']) == ('my_bag', '/camera/image_raw')
    assert SourceSettings().changed(overrides).rate_hz == 5.0
    (handler,) = [a.args[0] for a in actions if a.kind == 'RegisterEventHandler']
    assert handler.target_action is node
    assert handler.on_exit[0].kind == 'Shutdown'


def test_the_remote_host_takes_what_is_given(launched: Any) -> None:
    node = only_node(launched('remote_host', host='0.0.0.0', model='small', use_respawn='true'))
    assert (node.name, node.executable, node.respawn) == ('remote_host', 'remote_host', True)
    assert node.parameters[1] == {'listen.host': '0.0.0.0', 'model': 'small'}
    assert RemoteHostSettings().changed(node.parameters[1]).listen_host == '0.0.0.0'
    assert only_node(launched('remote_host')).parameters[1] == {}
    assert (ROOT / 'lib' / node.package / node.executable).is_file()


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.name)
def test_what_is_included_is_there_and_takes_what_it_is_given(file: Path, launched: Any) -> None:
    for action in launched(file.name.removesuffix('.launch.py'), **needed(file)):
        if action.kind == 'IncludeLaunchDescription':
            included = Path(action.args[0].args[0])
            assert included in FILES
            name = included.name.removesuffix('.launch.py')
            assert {key for key, _ in action.launch_arguments} <= arguments(launched(name))


@pytest.mark.parametrize('name', ['perception', 'view', 'remote_host'])
def test_shared_memory_is_used_unless_the_user_has_his_own(
    name: str, launched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def variables() -> set[str]:
        return {a.args[0] for a in launched(name) if a.kind == 'SetEnvironmentVariable'}

    assert variables() == set(VARIABLES)
    monkeypatch.setenv(VARIABLES[0], '/etc/mine.xml')
    assert variables() == set()


def test_viewers(launched: Any) -> None:
    rviz = only_node(launched('view', namespace='/robot1/'))
    layout = yaml.safe_load(Path(rviz.arguments[1]).read_text())
    shown = {
        display['Topic']['Value']
        for display in layout['Visualization Manager']['Displays']
        if 'Topic' in display
    }
    assert {before for before, _ in rviz.remappings} == shown
    assert all(after == f'/robot1{before}' for before, after in rviz.remappings)
    assert only_node(launched('view', viewer='foxglove')).package == 'foxglove_bridge'
    with pytest.raises(ValueError, match='rviz or foxglove'):
        launched('view', viewer='xterm')


def test_the_foxglove_layout_places_every_panel() -> None:
    content = json.loads((ROOT / 'config' / 'mt_perception.foxglove.json').read_text())

    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        return leaves(node['first']) + leaves(node['second'])

    assert sorted(leaves(content['layout'])) == sorted(content['configById'])
