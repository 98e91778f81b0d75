# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters: one declaration, strict checks, all or nothing, and files that agree with it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_graph import RosGraph, ros_graph

from mt_perception.errors import OptionError
from mt_perception.execution.options import Options
from mt_perception.nodes.live_parameters import LiveParameters
from mt_perception.nodes.parameter_schema import Change, Settings, field_name, markdown_table
from mt_perception.nodes.parameters import (
    NODES,
    PerceptionSettings,
    SourceSettings,
    params_yaml,
)

CONFIG = Path(__file__).resolve().parent.parent / 'config' / 'mt_perception.params.yaml'


@pytest.fixture
def graph() -> Iterator[RosGraph]:
    with ros_graph() as made:
        yield made


@pytest.mark.parametrize('settings', NODES.values())
def test_every_declaration_holds_itself(settings: type[Settings]) -> None:
    for field, p in zip(fields(settings), settings.parameters(), strict=True):
        assert field.name == field_name(p.name)
        assert p.checked(p.default) == p.default
        assert p.description.endswith('.')
        assert '|' not in p.description, 'it would break the table'


def test_the_yaml_file_is_generated() -> None:
    assert CONFIG.read_text() == params_yaml(), (
        'write it anew: python -c "from mt_perception.nodes.parameters import params_yaml; '
        "print(params_yaml(), end='')\" > config/mt_perception.params.yaml"
    )


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


def test_every_file_in_config_loads(graph: RosGraph) -> None:
    for file in CONFIG.parent.glob('*.yaml'):
        for node, settings in NODES.items():
            made = rclpy.create_node(
                node,
                namespace='/robot1/head',
                context=graph.context,
                cli_args=['--ros-args', '--params-file', str(file)],
            )
            live = LiveParameters(made, settings())
            assert len(made._parameter_overrides) == len(settings.parameters())
            assert live.settings == settings()
            assert not live.unknown
            made.destroy_node()


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
        ('model', 3, 'string'),
        ('input.transport', 'theora', 'raw, compressed'),
        ('detection.classes', [], 'one or more'),
        ('detection.classes', ['all', 'person'], 'either'),
        ('detection.classes', [3], 'strings'),
        ('detection.classes', 'person', 'list'),
        ('detection.score_treshold', 0.5, 'did you mean detection.score_threshold?'),
        ('colour', 'red', 'there are autostart'),
    ],
)
def test_a_bad_value_is_refused_with_the_reason(name: str, value: object, words: str) -> None:
    with pytest.raises(OptionError) as error:
        PerceptionSettings().changed({name: value})
    assert words in str(error.value)
    assert name in str(error.value)


def test_integers_will_do_for_doubles() -> None:
    settings = PerceptionSettings().changed({'detection.score_threshold': 1})
    assert isinstance(settings.detection_score_threshold, float)


def test_a_group_changes_as_a_whole_or_not_at_all() -> None:
    settings = PerceptionSettings()
    both = settings.changed({'detection.score_threshold': 0.1, 'depth.max_range_m': 5})
    assert (both.detection_score_threshold, both.depth_max_range_m) == (0.1, 5.0)
    with pytest.raises(OptionError):
        settings.changed({'detection.score_threshold': 0.1, 'depth.max_range_m': -5})
    assert settings == PerceptionSettings()


def test_defaults_are_those_of_the_pipeline() -> None:
    assert PerceptionSettings().options() == Options()
    chosen = PerceptionSettings().changed({'detection.classes': ['person']}).options()
    assert chosen.classes == ('person',)


def test_conditions_reach_the_pipeline_one_by_one() -> None:
    rule = 'segmentation if detection finds person or dog'
    chosen = PerceptionSettings().changed({'tasks.conditions': [rule]})
    assert chosen.options().conditions == (rule,)
    with pytest.raises(OptionError, match=r"\['none'\] or a list of conditions"):
        PerceptionSettings().changed({'tasks.conditions': ['none', rule]})


def live_node(graph: RosGraph, **overrides: object) -> tuple[Node, LiveParameters]:
    node = graph.add(lambda **kwargs: Node('parameters', **kwargs), **overrides)
    return node, LiveParameters(node, PerceptionSettings())


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
        assert name in result.reason or 'STRING_ARRAY' in result.reason or 'type' in result.reason
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


def test_whole_numbers_in_a_file_will_do_for_doubles(graph: RosGraph) -> None:
    node, live = live_node(graph, **{'depth.max_range_m': 5})
    assert live.settings.depth_max_range_m == 5.0
    assert node.set_parameters([Parameter('depth.max_range_m', value=6)])[0].successful
    assert live.settings.depth_max_range_m == 6.0


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('model', 3),
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
