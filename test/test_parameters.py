# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters: one declaration, strict checks, all or nothing, and files that agree with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.parameter import Parameter, parameter_dict_from_yaml_file
from ros_graph import RosGraph

from mt_perception.errors import OptionError
from mt_perception.execution.options import Options
from mt_perception.nodes.node_parameters import NodeParameters, ParameterNode
from mt_perception.nodes.parameter_files import unmatched_files
from mt_perception.nodes.parameter_schema import Change, Settings, field_name, markdown_table
from mt_perception.nodes.parameters import (
    NODES,
    PerceptionSettings,
    SourceSettings,
    parameter_files,
)

CONFIG = Path(__file__).resolve().parent.parent / 'config' / 'mt_perception.params.yaml'


@pytest.mark.parametrize('settings', NODES.values())
def test_every_declaration_holds_itself(settings: type[Settings]) -> None:
    for field, p in zip(fields(settings), settings.parameters(), strict=True):
        assert field.name == field_name(p.name)
        assert p.checked(p.default) == p.default
        assert p.description.endswith('.')
        assert '|' not in p.description, 'it would break the table'


def test_the_yaml_files_are_generated() -> None:
    files = {file.name: file.read_text() for file in CONFIG.parent.glob('*.yaml')}
    assert files == parameter_files(), 'run: python tools/generated_docs.py'


def test_the_yaml_file_has_every_parameter_and_no_other() -> None:
    content = yaml.safe_load(CONFIG.read_text())
    for node, settings in NODES.items():
        found = dict(flat(content[f'/**/{node}']['ros__parameters']))
        assert list(found) == [p.name for p in settings.parameters()]
        assert settings().changed(found) == settings()
    assert len(content) == len(NODES)


def flat(tree: dict[str, object], prefix: str = '') -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


@pytest.mark.parametrize('node', NODES)
def test_every_file_in_config_loads(graph: RosGraph, node: str) -> None:
    settings = NODES[node]
    for file in (CONFIG, CONFIG.with_name(f'{node}.params.yaml')):
        made = ParameterNode(
            node,
            namespace='/robot1/head',
            context=graph.context,
            cli_args=['--ros-args', '--params-file', str(file)],
        )
        # Read before they are declared: otherwise a file that does not apply would pass.
        absent = {p.name for p in settings.parameters()} - set(made.get_parameters_by_prefix(''))
        comments = {'autostart', 'cameras'} if file != CONFIG and node == 'perception' else set()
        assert absent == comments, 'read-only parameters are comments'
        live = NodeParameters(made, settings())
        assert live.settings == settings()
        assert not live.unknown
        made.destroy_node()


def test_ros2_param_load_of_the_nodes_own_file_reports_no_failure(graph: RosGraph) -> None:
    node, _ = live_node(graph)
    file = CONFIG.with_name('perception.params.yaml')
    # What `ros2 param load` does.
    parameters = parameter_dict_from_yaml_file(str(file), use_wildcard=True)
    messages = [Parameter.from_parameter_msg(message) for message in parameters.values()]
    results = node.set_parameters(messages)
    changeable = [p for p in PerceptionSettings.parameters() if p.change is not Change.START]
    assert len(results) == len(changeable)
    assert [result.reason for result in results if not result.successful] == []


def test_the_table_names_every_parameter() -> None:
    for settings in NODES.values():
        table = markdown_table(settings)
        assert all(f'`{p.name}`' in table for p in settings.parameters())
        assert len({line.count('|') for line in table.splitlines()}) == 1


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('detection.score_threshold', 1.01, '[0, 1]'),
        ('detection.score_threshold', -0.01, '[0, 1]'),
        ('detection.score_threshold', math.nan, 'finite'),
        ('detection.score_threshold', math.inf, 'finite'),
        ('detection.score_threshold', '0.5', 'double'),
        ('detection.score_threshold', True, 'double'),
        ('detection.score_threshold', None, 'double'),
        ('detection.max_detections', 10.0, 'int'),
        ('detection.max_detections', True, 'int'),
        ('detection.max_detections', 0, '[1, 1000]'),
        ('tasks.depth.enabled', 1, 'bool'),
        ('model', True, 'string'),
        ('input.transport', 'theora', 'raw, compressed'),
        ('detection.classes', [], 'one or more'),
        ('detection.classes', ['all', 'person'], 'either'),
        ('detection.classes', [3], 'strings'),
        ('detection.classes', 'person', 'list'),
        ('detection.score_treshold', 0.5, 'did you mean detection.score_threshold?'),
        ('colour', 'red', 'valid names: autostart'),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(name: str, value: object, words: str) -> None:
    with pytest.raises(OptionError) as error:
        PerceptionSettings().changed({name: value})
    assert words in str(error.value)
    assert name in str(error.value)


def test_an_integer_is_valid_for_a_double_and_for_a_string() -> None:
    settings = PerceptionSettings().changed({'detection.score_threshold': 1, 'model': 3})
    assert isinstance(settings.detection_score_threshold, float)
    assert settings.model == '3'
    # ROS reads `source:=0`, the first camera, as an integer.
    assert SourceSettings().changed({'source': 0, 'topic': 7}).source == '0'


def test_a_group_changes_as_a_whole_or_not_at_all() -> None:
    settings = PerceptionSettings()
    both = settings.changed({'detection.score_threshold': 0.1, 'depth.max_range_m': 5})
    assert (both.detection_score_threshold, both.depth_max_range_m) == (0.1, 5.0)
    with pytest.raises(OptionError):
        settings.changed({'detection.score_threshold': 0.1, 'depth.max_range_m': -5})
    assert settings == PerceptionSettings()


def test_defaults_are_those_of_the_pipeline() -> None:
    # A node sees one stream of images; a pipeline may be given unrelated ones.
    assert PerceptionSettings().options() == Options(tracking=True)
    chosen = PerceptionSettings().changed({'detection.classes': ['person']}).options()
    assert chosen.classes == ('person',)


def test_conditions_reach_the_pipeline_one_by_one() -> None:
    rule = 'segmentation if detection finds person or dog'
    chosen = PerceptionSettings().changed({'tasks.conditions': [rule]})
    assert chosen.options().conditions == (rule,)
    with pytest.raises(OptionError, match=r"\['none'\] or a list of conditions"):
        PerceptionSettings().changed({'tasks.conditions': ['none', rule]})


def live_node(graph: RosGraph, **overrides: object) -> tuple[ParameterNode, NodeParameters]:
    node = graph.add(lambda **kwargs: ParameterNode('parameters', **kwargs), **overrides)
    return node, NodeParameters(node, PerceptionSettings())


def test_a_node_refuses_with_the_reason_and_keeps_the_old_value(graph: RosGraph) -> None:
    node, live = live_node(graph)
    for name, value in (
        ('detection.iou_threshold', 7.0),
        ('detection.iou_threshold', 7),
        ('detection.iou_threshold', math.nan),
        ('detection.iou_threshold', 'high'),
        ('detection.iou_threshold', None),
        ('detection.max_detections', 1.5),
        ('detection.classes', []),
        ('input.transport', 'theora'),
        ('autostart', False),
    ):
        before = node.get_parameter(name).value
        result = node.set_parameters([Parameter(name, value=value)])[0]
        assert not result.successful
        assert name in result.reason
        assert node.get_parameter(name).value == before
    assert live.settings == PerceptionSettings()
    with pytest.raises(ParameterNotDeclaredException):
        node.set_parameters([Parameter('colour', value='red')])


def test_a_node_changes_a_group_atomically(graph: RosGraph) -> None:
    node, live = live_node(graph)
    good, bad = (
        Parameter('detection.score_threshold', value=0.1),
        Parameter('detection.classes', value=['all', 'person']),
    )
    assert not node.set_parameters_atomically([good, bad]).successful
    assert node.get_parameter(good.name).value == 0.35
    assert live.settings == PerceptionSettings()
    assert node.set_parameters_atomically([good]).successful
    assert live.settings.detection_score_threshold == 0.1


def test_an_integer_at_start_or_later_becomes_the_declared_type(graph: RosGraph) -> None:
    node, live = live_node(graph, **{'depth.max_range_m': 5, 'model': 0})
    assert live.settings.depth_max_range_m == 5.0
    assert live.settings.model == '0'
    assert node.set_parameters([Parameter('depth.max_range_m', value=6)])[0].successful
    assert live.settings.depth_max_range_m == 6.0
    assert node.get_parameter('depth.max_range_m').type_ == Parameter.Type.DOUBLE
    assert node.set_parameters([Parameter('model', value=1)])[0].successful
    assert node.get_parameter('model').value == live.settings.model == '1'


def test_a_refused_value_does_not_change_the_declared_type(graph: RosGraph) -> None:
    node, _ = live_node(graph)
    types = {p.name: node.describe_parameter(p.name).type for p in PerceptionSettings.parameters()}
    for name in types:
        for value in ('abc', 3, True, [1.5]):
            parameter = Parameter(name, value=value)
            if name not in ('model', 'budget.path') and 'offload' not in name:
                node.set_parameters([parameter])
    found = {name: node.describe_parameter(name).type for name in types}
    assert found == types
    for name, kind in types.items():
        assert node.get_parameter(name).type_.value == kind


def test_validation_of_a_parameter_changes_nothing(graph: RosGraph) -> None:
    """Another callback may refuse what ours has accepted."""
    node, live = live_node(graph)
    validated: list[float] = []

    def refuse(parameters: list[Parameter]) -> SetParametersResult:
        validated.append(live.settings.depth_max_range_m)
        return SetParametersResult(successful=False, reason='not today')

    # rclpy calls the callback that was added last first: ours has to come before the other.
    node.remove_on_set_parameters_callback(live._on_set)
    node.add_on_set_parameters_callback(refuse)
    node.add_on_set_parameters_callback(live._on_set)
    result = node.set_parameters([Parameter('depth.max_range_m', value=6.0)])[0]
    assert not result.successful
    assert 'not today' in result.reason
    assert validated == [80.0]
    assert live.settings == PerceptionSettings()


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('model', True),
        ('depth.max_range_m', math.nan),
        ('points.stride', 0),
        ('detection.classes', []),
    ],
)
def test_a_bad_value_at_start_is_one_clear_error(
    graph: RosGraph, name: str, value: object
) -> None:
    with pytest.raises(OptionError, match=name):
        live_node(graph, **{name: value})


def test_a_misspelt_parameter_at_start_is_told(graph: RosGraph) -> None:
    _, live = live_node(graph, **{'detection.score_treshold': 0.1, 'use_sim_time': True})
    assert len(live.unknown) == 1
    assert 'did you mean detection.score_threshold?' in live.unknown[0]


@pytest.mark.parametrize(
    ('key', 'applies'),
    [
        ('/**', True),
        ('/**/perception', True),
        ('/robot1/head/perception', True),
        ('robot1/head/perception', True),
        ('/robot1/*/perception', True),
        ('/*/perception', False),
        ('perception', False),
        ('/perception', False),
        ('/robot1/perception', False),
    ],
)
def test_a_file_for_another_namespace_is_noticed(
    graph: RosGraph, tmp_path: Path, key: str, applies: bool
) -> None:
    """What applies is what ROS itself applies."""
    file = tmp_path / 'mine.yaml'
    file.write_text(f'{key}:\n  ros__parameters:\n    depth.max_range_m: 7.0\n')
    node = ParameterNode(
        'perception',
        namespace='/robot1/head',
        context=graph.context,
        cli_args=['--ros-args', '--params-file', str(file)],
    )
    live = NodeParameters(node, PerceptionSettings())
    assert (live.settings.depth_max_range_m == 7.0) is applies
    assert (not live.unknown) is applies
    if not applies:
        assert '/**/perception' in live.unknown[0]
        assert str(file) in live.unknown[0]
    node.destroy_node()


def test_a_file_for_other_nodes_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / 'all.yaml'
    file.write_text(
        'camera:\n  ros__parameters: {rate: 3}\nns:\n  a:\n    ros__parameters: {b: 1}\n'
    )
    assert unmatched_files(['--params-file', str(file)], ['/robot1/perception']) == []
    assert unmatched_files(['--params-file', '/no/such/file'], ['/robot1/perception']) == []


def test_descriptors_tell_ranges_and_who_may_change(graph: RosGraph) -> None:
    node, _ = live_node(graph)
    threshold = node.describe_parameter('detection.score_threshold')
    assert (threshold.floating_point_range[0].from_value, threshold.read_only) == (0.0, False)
    assert node.describe_parameter('points.stride').integer_range[0].to_value == 64
    assert node.describe_parameter('autostart').read_only
    for p in PerceptionSettings.parameters():
        found = node.describe_parameter(p.name)
        assert found.description == p.description
        assert found.read_only is (p.change is Change.START)


def test_a_source_cannot_be_changed_while_it_plays() -> None:
    assert {p.change for p in SourceSettings.parameters()} == {Change.START}
