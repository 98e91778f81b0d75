# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception doctor`` and ``benchmark`` on this machine."""

from __future__ import annotations

import importlib
import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from tiny_model import write_tiny_model

from mt_perception.cli import doctor
from mt_perception.cli.benchmark import Case, _recommendation
from mt_perception.cli.main import main


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny'))


def test_a_machine_without_ros_is_healthy_without_ros(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['doctor', '--no-ros', '--model', tiny]) == 0
    shown = capsys.readouterr().out
    assert '✗' not in shown
    for part in ('Python', 'OpenCV', 'ONNX Runtime', 'serves detection'):
        assert part in shown


def test_extras_are_listed_with_the_command_that_installs_them(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        if name in ('jinja2', 'torch'):
            raise PackageNotFoundError(name)
        return '1.0'

    monkeypatch.setattr('mt_perception.resources.version', version)
    assert main(['doctor', '--no-ros', '--model', tiny]) == 0
    shown = capsys.readouterr().out
    assert '✓ extra serve: the remote host' in shown
    assert '- extra eval, for reports and baselines of evaluate: not installed (jinja2)' in shown
    assert "'matplotlib>=3.7'" in shown
    assert '- extra train' in shown


def test_a_broken_model_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_model(tmp_path / 'tiny')
    next(folder.glob('*.onnx')).unlink()
    assert main(['doctor', '--no-ros', '--model', str(folder)]) == 1
    assert '✗ model' in capsys.readouterr().out


def test_missing_ros_is_found_and_the_remedy_said(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def without_ros(name: str, *rest: Any) -> Any:
        if name.split('.')[0] in ('rclpy', 'vision_msgs'):
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
        return real(name, *rest)

    main(['doctor', '--help'])
    monkeypatch.setattr(importlib, 'import_module', without_ros)
    assert main(['doctor', '--model', tiny]) == 1
    shown = capsys.readouterr().out
    assert '✗ rclpy' in shown
    assert '✗ vision_msgs' in shown
    assert 'source your ROS 2 installation' in shown
    assert 'python -m mt_perception.interfaces' in shown


@pytest.mark.parametrize(
    ('variable', 'value', 'line'),
    [
        ('ROS_DOMAIN_ID', '400', '✗ ROS_DOMAIN_ID'),
        ('ROS_DOMAIN_ID', 'home', '✗ ROS_DOMAIN_ID'),
        ('ROS_DOMAIN_ID', '', '✓ ROS_DOMAIN_ID: 0'),
        ('ROS_AUTOMATIC_DISCOVERY_RANGE', 'OFF', '✗ discovery'),
        ('FASTDDS_DEFAULT_PROFILES_FILE', '/no/such/profile.xml', '✗ Fast DDS profile'),
    ],
)
def test_a_wrong_environment_is_found(
    variable: str,
    value: str,
    line: str,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(['doctor', '--model', tiny]) == ('✗' in line)
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    ('ros2', 'stub', 'good', 'found'),
    [
        (None, False, True, 'no ros2 command here; start a node by'),
        (
            '/opt/ros/bin/ros2',
            False,
            False,
            'was installed with pip install -e',
        ),
        ('/opt/ros/bin/ros2', True, True, 'lib/mt_perception/perception'),
    ],
)
def test_ros2_run_is_a_matter_only_where_there_is_a_ros2_command(
    ros2: str | None,
    stub: bool,
    good: bool,
    found: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor.shutil, 'which', lambda name: ros2)
    monkeypatch.setattr(doctor.sys, 'prefix', str(tmp_path))
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    if stub:
        path = tmp_path / 'lib' / 'mt_perception' / 'perception'
        path.parent.mkdir(parents=True)
        path.touch(0o755)
    finding = doctor._ros2_run()
    assert finding.good == good
    assert found in finding.found
    assert finding.good or not finding.needed
    assert good or 'pip install . without -e' in finding.remedy


def test_a_topic_is_looked_at(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('rclpy')
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from ros_graph import DOMAIN_ID, ros_graph
    from sensor_msgs.msg import Image

    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN_ID))
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with ros_graph() as graph:
        import rclpy

        node = rclpy.create_node('driver', context=graph.context)
        graph.nodes.append(node)
        node.create_publisher(Image, '/looked_at/image', 1)
        assert main(['doctor', '--model', tiny, '--topic', '/looked_at/image']) == 0
        shown = capsys.readouterr().out
        assert '✓ /looked_at/image publisher: /driver (sensor_msgs/msg/Image' in shown
        node.create_subscription(Image, '/looked_at/image', lambda message: None, latched)
        assert main(['doctor', '--model', tiny, '--topic', '/looked_at/image']) == 1
        assert '/driver does not receive' in capsys.readouterr().out


def test_a_silent_topic_is_found(
    tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip('rclpy')
    from ros_graph import DOMAIN_ID

    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN_ID))
    assert main(['doctor', '--model', tiny, '--topic', '/nobody/here']) == 1
    assert 'no publisher' in capsys.readouterr().out


def test_the_benchmark_ends_with_ratios(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['--model', tiny, '--frames', '3', '--image-size', '96x64']
    assert main(['benchmark', *arguments]) == 0
    shown = capsys.readouterr().out
    assert 'ratio to all' in shown
    assert '1.00' in shown


def test_the_benchmark_of_all_providers(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['--model', tiny, '--frames', '3', '--image-size', '96x64', '--provider', 'all']
    assert main(['benchmark', *arguments]) == 0
    shown = ' '.join(capsys.readouterr().out.split())
    assert 'ratio to CPU' in shown
    assert 'recommended: ' in shown


def test_the_benchmark_as_json(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['--model', tiny, '--frames', '2', '--provider', 'CPU', '--provider', 'CoreML']
    assert main(['benchmark', *arguments, '--image-size', '96x64', '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert [case['name'] for case in found['cases']] == ['CPU']
    assert found['cases'][0]['median_ms']['total'] > 0
    assert 'CoreML' in found['warnings'][0]


def test_the_benchmark_recommends_what_is_faster() -> None:
    cases = [Case(name, None, ()) for name in ('CPU', 'OpenVINO')]  # type: ignore[arg-type]
    assert 'the CPU' in _recommendation([{'total': [10.0]}, {'total': [9.9]}], cases)
    assert '--provider OpenVINO (0.50' in _recommendation(
        [{'total': [10.0]}, {'total': [5.0]}], cases
    )


def test_the_benchmark_refuses_a_size_that_is_none(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['benchmark', '--model', tiny, '--image-size', 'big']) == 2
    assert 'expected WIDTHxHEIGHT' in capsys.readouterr().err
