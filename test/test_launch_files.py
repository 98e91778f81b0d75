# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The launch files: what they declare, and what they start with which arguments.

``launch`` is not on PyPI; stand-ins record which actions the files create.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from mt_perception.errors import OptionError
from mt_perception.nodes.host_parameters import RemoteHostSettings
from mt_perception.nodes.parameters import PerceptionSettings, SourceSettings
from mt_perception.nodes.shared_memory import VARIABLES

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
MODULES = {
    'launch': ('LaunchContext', 'LaunchDescription'),
    'launch.actions': (
        *('DeclareLaunchArgument', 'GroupAction', 'IncludeLaunchDescription', 'LogInfo'),
        *('OpaqueFunction', 'RegisterEventHandler', 'SetEnvironmentVariable', 'Shutdown'),
    ),
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
    # It may have been imported with the stand-ins of another test.
    monkeypatch.delitem(sys.modules, 'mt_perception.nodes.launch_arguments', raising=False)

    def launch(name: str, /, **given: str) -> list[Any]:
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
        return actions + flat(made)

    return launch


@pytest.fixture
def viewers_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ament prefix in which rviz2 and foxglove_bridge are installed."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    for package in ('rviz2', 'foxglove_bridge'):
        (index / package).touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))


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
@pytest.mark.usefixtures('viewers_installed')
def test_every_argument_is_explained(file: Path, launched: Any) -> None:
    for action in launched(file.name.removesuffix('.launch.py'), **needed(file)):
        if is_argument(action):
            assert action.description.endswith('.')


def needed(file: Path) -> dict[str, str]:
    return {'bag': 'my_bag'} if file.name.startswith('replay') else {}


def test_perception_takes_the_arguments_of_the_field(launched: Any) -> None:
    assert arguments(launched('perception')) == {
        *('namespace', 'params_file', 'use_sim_time', 'autostart', 'log_level', 'use_respawn'),
        *('use_rviz', 'image', 'camera_info', 'model', 'name', 'cameras'),
    }


def test_perception_by_default_leaves_everything_to_the_file(launched: Any) -> None:
    node = only_node(launched('perception'))
    file, overrides = node.parameters
    assert Path(file) == ROOT / 'config' / 'mt_perception.params.yaml'
    assert Path(file).is_file()
    assert overrides == {}, 'also use_sim_time, which the file may set'
    assert node.remappings == [('image', 'image')]
    assert (node.name, node.executable, node.respawn) == ('perception', 'perception', False)
    assert (ROOT / 'lib' / node.package / node.executable).is_file()


def test_perception_passes_on_what_is_given(launched: Any) -> None:
    given = {
        'namespace': 'robot1',
        'name': 'front',
        'image': '/camera/image_raw',
        'camera_info': '/other/camera_info',
        'model': 'small',
        'autostart': 'False',
        'use_sim_time': '1',
        'use_respawn': 'yes',
        'log_level': 'debug',
    }
    node = only_node(launched('perception', **given))
    assert (node.namespace, node.name) == ('robot1', 'front')
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


@pytest.mark.usefixtures('viewers_installed')
def test_several_cameras_are_one_process_and_rviz_shows_the_first(launched: Any) -> None:
    actions = launched(
        'perception', cameras='front, left', image='image_raw', namespace='robot', use_rviz='yes'
    )
    node = only_node(actions)
    assert node.parameters[1] == {'cameras': ['front', 'left']}
    assert node.remappings == [('image', 'image_raw')]
    (view,) = [action for action in actions if action.kind == 'IncludeLaunchDescription']
    assert dict(view.launch_arguments)['namespace'] == 'robot/front'


def test_one_topic_for_several_cameras_is_refused(launched: Any) -> None:
    with pytest.raises(OptionError, match='relative to the namespace of each'):
        launched('perception', cameras='front,left', image='/camera/image_raw')


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


@pytest.mark.usefixtures('viewers_installed')
def test_what_is_included_is_there_and_takes_what_it_is_given(launched: Any) -> None:
    found = []
    for name in ('perception', 'replay'):
        for action in launched(name, use_rviz='true', use_sim_time='True', **needed(Path(name))):
            if action.kind == 'IncludeLaunchDescription':
                file = Path(action.args[0].args[0])
                assert file in FILES
                included = file.name.removesuffix('.launch.py')
                found.append(included)
                launched(included, **dict(action.launch_arguments))
    assert found == ['view', 'perception']


# A launch that cannot succeed starts nothing


WRONG = [
    ('perception', 'use_rviz', 'true', 'rviz2'),
    ('replay', 'use_rviz', 'yes', 'rviz2'),
    ('view', 'viewer', 'rviz', 'rviz2'),
    ('view', 'viewer', 'foxglove', 'foxglove_bridge'),
    ('view', 'viewer', 'xterm', 'rviz, foxglove'),
    ('view', 'rviz_config', '/no/such/file.rviz', 'path of a file'),
    ('perception', 'autostart', 'maybe', 'true or false'),
    ('perception', 'use_respawn', 'si', 'true or false'),
    ('perception', 'use_sim_time', 'TRU', 'true or false'),
    ('perception', 'log_level', 'verbose', 'debug, info, warn'),
    ('perception', 'params_file', '/no/such/file.yaml', 'path of a file'),
    ('replay', 'rate_hz', 'fast', 'number'),
    ('replay', 'loop', '2', 'true or false'),
    ('replay', 'restamp', '', 'true or false'),
    ('replay', 'log_level', 'verbose', 'debug, info, warn'),
    ('remote_host', 'use_respawn', 'x', 'true or false'),
]


@pytest.mark.parametrize(('name', 'argument', 'text', 'words'), WRONG)
def test_a_wrong_argument_is_refused_before_anything_starts(
    name: str,
    argument: str,
    text: str,
    words: str,
    launched: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Nothing is installed there.
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    with pytest.raises(OptionError, match=words) as error:
        launched(name, **{**needed(Path(name)), argument: text})
    assert argument in str(error.value)


@pytest.mark.parametrize('name', [file.name.removesuffix('.launch.py') for file in FILES])
@pytest.mark.usefixtures('viewers_installed')
def test_only_checked_arguments_lead_to_actions(name: str, launched: Any) -> None:
    """What stands in the description itself would be started before the check."""
    actions = launched(name, **needed(Path(name)))
    before = actions[: [a.kind for a in actions].index('OpaqueFunction')]
    assert {a.kind for a in before} == {'DeclareLaunchArgument'}
    assert [a.kind for a in actions].count('OpaqueFunction') == 1


@pytest.mark.parametrize('text', ['true', 'True', 'YES', 'on', '1', ' true '])
def test_booleans_are_read_alike_in_every_file(text: str, launched: Any) -> None:
    off = {'true': 'false', 'yes': 'no', 'on': 'off', '1': '0'}[text.strip().lower()]
    for name, argument, read in (
        ('perception', 'use_respawn', lambda node: node.respawn),
        ('remote_host', 'use_respawn', lambda node: node.respawn),
        ('perception', 'autostart', lambda node: node.parameters[1]['autostart']),
        ('replay', 'loop', lambda node: node.parameters[1]['loop']),
        ('replay', 'restamp', lambda node: node.parameters[1]['restamp']),
    ):
        for given, expected in ((text, True), (off, False)):
            node = only_node(launched(name, **{**needed(Path(name)), argument: given}))
            assert read(node) is expected, (name, argument, given)


@pytest.mark.usefixtures('viewers_installed')
def test_use_sim_time_reaches_every_node(launched: Any) -> None:
    for name in ('perception', 'replay', 'view'):
        for given, expected in (('true', True), ('0', False)):
            actions = launched(name, use_sim_time=given, **needed(Path(name)))
            assert only_node(actions).parameters[-1]['use_sim_time'] is expected
            for action in actions:
                if action.kind == 'IncludeLaunchDescription':
                    assert dict(action.launch_arguments)['use_sim_time'] == str(expected)


@pytest.mark.usefixtures('viewers_installed')
@pytest.mark.parametrize('name', ['perception', 'view', 'remote_host'])
def test_shared_memory_is_used_unless_the_user_has_his_own(
    name: str, launched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def variables() -> set[str]:
        return {a.args[0] for a in launched(name) if a.kind == 'SetEnvironmentVariable'}

    assert variables() == set(VARIABLES)
    monkeypatch.setenv(VARIABLES[0], '/etc/mine.xml')
    assert variables() == set()


@pytest.mark.usefixtures('viewers_installed')
def test_the_viewers_follow_the_namespace_and_the_name(launched: Any) -> None:
    given = {'namespace': '/robot1/', 'name': 'front'}
    rviz = only_node(launched('view', **given))
    shown = rviz_topics(Path(rviz.arguments[1]))
    assert {before for before, _ in rviz.remappings} == shown
    assert all(
        after == before.replace('/perception', '/robot1/front')
        for before, after in rviz.remappings
    )
    actions = launched('view', viewer='foxglove', **given)
    assert only_node(actions).package == 'foxglove_bridge'
    assert foxglove_topics(layout_named_in(actions)) == {
        topic.replace('/perception', '/robot1/front') for topic in foxglove_topics(FOXGLOVE)
    }
    assert layout_named_in(launched('view', viewer='foxglove')) == FOXGLOVE


def layout_named_in(actions: list[Any]) -> Path:
    (info,) = [action for action in actions if action.kind == 'LogInfo']
    return Path(info.msg.rpartition(' ')[2])


FOXGLOVE = ROOT / 'config' / 'mt_perception.foxglove.json'


def rviz_topics(file: Path) -> set[str]:
    layout = yaml.safe_load(file.read_text())
    return {
        display['Topic']['Value']
        for display in layout['Visualization Manager']['Displays']
        if 'Topic' in display
    }


def foxglove_topics(file: Path) -> set[str]:
    """Every topic of a node that the layout names."""
    return set(re.findall(r'"(/(?:perception|robot1/front)/[a-z_/]+)', file.read_text()))


def test_the_shipped_layouts_show_topics_that_the_node_has() -> None:
    from mt_perception.nodes import topics as topics_of_the_node

    has = {
        value.replace('~', '/perception')
        for name, value in vars(topics_of_the_node).items()
        if name.endswith('_TOPIC')
    }
    shown = rviz_topics(ROOT / 'config' / 'mt_perception.rviz') | foxglove_topics(FOXGLOVE)
    assert len(shown) >= 5
    assert shown <= has


def test_the_foxglove_layout_places_every_panel() -> None:
    content = json.loads((ROOT / 'config' / 'mt_perception.foxglove.json').read_text())

    def leaves(node: Any) -> list[str]:
        if isinstance(node, str):
            return [node]
        return leaves(node['first']) + leaves(node['second'])

    assert sorted(leaves(content['layout'])) == sorted(content['configById'])


def test_the_costmap_example_starts_the_costmap_and_its_manager(
    launched: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = '../examples/nav2/costmap'
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    with pytest.raises(OptionError, match=r'needs nav2_costmap_2d, .*nav2-costmap-2d'):
        launched(name)
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    for package in ('nav2_costmap_2d', 'nav2_lifecycle_manager'):
        (index / package).touch()
    actions = launched(name, image='/camera/image_raw', use_sim_time='true')
    costmap, manager = (action for action in actions if action.kind == 'Node')
    file, time = costmap.parameters
    assert Path(file) == ROOT / 'examples' / 'nav2' / 'costmap.yaml'
    assert time == {'use_sim_time': True}
    # Costmap2DROS("costmap") is the node /costmap/costmap.
    assert manager.parameters[0]['node_names'] == ['costmap/costmap']
    assert manager.parameters[0]['use_sim_time'] is True
