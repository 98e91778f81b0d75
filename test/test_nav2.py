# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The costmap recipe has only parameters that nav2 has, of its types, and topics that we have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent

# Name → type of what nav2 declares, in nav2_costmap_2d of github.com/ros-navigation/navigation2:
# src/costmap_2d_ros.cpp (init), plugins/obstacle_layer.cpp, plugins/voxel_layer.cpp and
# plugins/inflation_layer.cpp (onInitialize).
COSTMAP: dict[str, type] = {
    'always_send_full_costmap': bool, 'filters': list, 'footprint': str,
    'footprint_padding': float, 'global_frame': str, 'height': int, 'lethal_cost_threshold': int,
    'map_vis_z': float, 'observation_sources': str, 'origin_x': float, 'origin_y': float,
    'plugins': list, 'publish_frequency': float, 'resolution': float, 'robot_base_frame': str,
    'robot_radius': float, 'rolling_window': bool, 'track_unknown_space': bool,
    'transform_tolerance': float, 'trinary_costmap': bool, 'unknown_cost_value': int,
    'update_frequency': float, 'use_maximum': bool, 'width': int,
}  # fmt: skip
OBSTACLE_LAYER: dict[str, type] = {
    'enabled': bool, 'footprint_clearing_enabled': bool, 'min_obstacle_height': float,
    'max_obstacle_height': float, 'combination_method': int, 'observation_sources': str,
}  # fmt: skip
VOXEL_LAYER = OBSTACLE_LAYER | {
    'z_voxels': int, 'origin_z': float, 'z_resolution': float, 'unknown_threshold': int,
    'mark_threshold': int, 'publish_voxel_map': bool,
}  # fmt: skip
INFLATION_LAYER: dict[str, type] = {
    'enabled': bool, 'inflation_radius': float, 'cost_scaling_factor': float,
    'inflate_unknown': bool, 'inflate_around_unknown': bool,
}  # fmt: skip
SOURCE: dict[str, type] = {
    'topic': str, 'sensor_frame': str, 'observation_persistence': float,
    'expected_update_rate': float, 'data_type': str, 'min_obstacle_height': float,
    'max_obstacle_height': float, 'inf_is_valid': bool, 'marking': bool, 'clearing': bool,
    'obstacle_max_range': float, 'obstacle_min_range': float, 'raytrace_max_range': float,
    'raytrace_min_range': float,
}  # fmt: skip
PLUGINS = {
    'nav2_costmap_2d::VoxelLayer': VOXEL_LAYER,
    'nav2_costmap_2d::ObstacleLayer': OBSTACLE_LAYER,
    'nav2_costmap_2d::InflationLayer': INFLATION_LAYER,
}


FILE = ROOT / 'examples' / 'nav2' / 'costmap.yaml'


@pytest.fixture(scope='module')
def costmap() -> dict[str, Any]:
    data = yaml.safe_load(FILE.read_text())
    # Costmap2DROS("costmap") is the node /costmap/costmap.
    parameters: dict[str, Any] = data['costmap']['costmap']['ros__parameters']
    return parameters


def layers(costmap: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: value for name, value in costmap.items() if isinstance(value, dict)}


def check(values: dict[str, Any], known: dict[str, type]) -> None:
    for name, value in values.items():
        assert name in known, f'nav2 has no {name}'
        # rclcpp refuses an integer for a double.
        assert type(value) is known[name], name


def test_parameters_are_those_of_nav2(costmap: dict[str, Any]) -> None:
    made = layers(costmap)
    check({name: value for name, value in costmap.items() if name not in made}, COSTMAP)
    assert set(costmap['plugins']) <= set(made)
    for layer in made.values():
        sources = {name: layer[name] for name in layer.get('observation_sources', '').split()}
        own = {n: v for n, v in layer.items() if n not in sources and n != 'plugin'}
        check(own, PLUGINS[layer['plugin']])
        for source in sources.values():
            check(source, SOURCE)


def test_sources_are_topics_of_the_node(costmap: dict[str, Any]) -> None:
    node = pytest.importorskip('mt_perception.nodes.topics')
    ours = {topic.replace('~', '/perception') for topic in node.TOPICS}
    for layer in layers(costmap).values():
        for name in layer.get('observation_sources', '').split():
            assert layer[name]['topic'] in ours
            assert layer[name]['data_type'] == 'PointCloud2'


def test_something_marks_something_clears_and_no_source_drops_all_points(
    costmap: dict[str, Any],
) -> None:
    for layer in layers(costmap).values():
        sources = [layer[name] for name in layer.get('observation_sources', '').split()]
        if not sources:
            continue
        marks = [source for source in sources if source['marking']]
        clears = [source for source in sources if source['clearing']]
        assert [source['topic'] for source in marks] == ['/perception/obstacles']
        assert clears
        # nav2 compares heights of both kinds before it uses a point.
        assert all(s['max_obstacle_height'] > s['min_obstacle_height'] for s in sources)
        assert all(source['min_obstacle_height'] < 0 for source in clears)
        assert all(s['raytrace_max_range'] >= marks[0]['obstacle_max_range'] for s in clears)


def test_the_file_has_no_aliases() -> None:
    """The parser of ROS parameters refuses them."""
    tokens = (yaml.AliasToken, yaml.AnchorToken)
    assert not any(isinstance(token, tokens) for token in yaml.scan(FILE.read_text()))
