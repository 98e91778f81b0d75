# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras in one process: names, parameters, shared weights, and faults of one of them."""

from __future__ import annotations

import gc
import itertools
import signal
import weakref
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile
from ros_graph import RosGraph, camera_info, image_message, node_process, patch
from sensor_msgs.msg import CameraInfo, Image
from vision_msgs.msg import Detection2DArray

from mt_perception.errors import OptionError
from mt_perception.nodes.cameras import without_renames
from mt_perception.nodes.lifecycle import ACTIVE
from mt_perception.nodes.model_pool import ModelPool
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.perception import PerceptionNode

RED = (0, 0, 255)
SECOND = 10**9


class Cameras:
    """The drivers of several cameras, and a listener to all results."""

    def __init__(self, graph: RosGraph, namespace: str, *names: str, image: str = 'image') -> None:
        self.graph = graph
        self.node: Node = graph.add(lambda **kwargs: Node('drivers', **kwargs))
        self.found: dict[str, list[Any]] = {name: [] for name in names}
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self._images: dict[str, Any] = {}
        self._infos: dict[str, Any] = {}
        for name in names:
            base = f'{namespace}/{name}'
            self._images[name] = self.node.create_publisher(Image, f'{base}/{image}', 1)
            self._infos[name] = self.node.create_publisher(CameraInfo, f'{base}/camera_info', 10)
            self.node.create_subscription(
                Detection2DArray,
                f'{base}/perception/detections',
                self.found[name].append,
                QoSProfile(depth=100),
            )
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 10)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics |= {status.name: status for status in message.status}

    @property
    def connected(self) -> bool:
        return all(p.get_subscription_count() for p in self._images.values()) and all(
            s.get_publisher_count() for s in self.node.subscriptions
        )

    def send(self, name: str, stamp_s: int, encoding: str = 'bgr8') -> None:
        pixels = patch(RED)
        self._infos[name].publish(camera_info(128, 96, stamp_s * SECOND))
        self._images[name].publish(image_message(pixels, stamp_s * SECOND, encoding))

    def stamps(self, name: str) -> list[int]:
        return [message.header.stamp.sec for message in self.found[name]]

    def wait_for(self, name: str, stamp_s: int) -> None:
        assert self.graph.spin_until(lambda: stamp_s in self.stamps(name))

    def report(self, name: str) -> DiagnosticStatus:
        """The next status of this name."""
        self.diagnostics.pop(name, None)
        assert self.graph.spin_until(lambda: name in self.diagnostics)
        return self.diagnostics[name]


class InProcess:
    """The nodes of several cameras in this process."""

    def __init__(self, graph: RosGraph, model: Path, *names: str, **settings: Any) -> None:
        self.pool = ModelPool(len(names))
        self.nodes: dict[str, PerceptionNode] = {
            name: graph.add(
                lambda name=name, **kwargs: PerceptionNode(
                    self.pool, name, namespace=name, **kwargs
                ),
                model=str(model),
                **settings,
            )
            for name in names
        }
        assert graph.spin_until(lambda: all(n.state == ACTIVE for n in self.nodes.values()))


def test_one_process_serves_all_cameras(graph: RosGraph, tiny: Path, tmp_path: Path) -> None:
    """As launch starts it: a namespace, a remapped topic, a file with a part for one camera."""
    file = tmp_path / 'cameras.yaml'
    file.write_text(
        f"""
/**/perception:
  ros__parameters:
    cameras: [front, left]
    model: {tiny}
/**/left/perception:
  ros__parameters:
    detection: {{max_detections: 1}}
"""
    )
    arguments = (
        *('-r', '__node:=perception', '-r', '__ns:=/robot', '-r', 'image:=image_raw'),
        *('--params-file', str(file), '--log-level', 'warn'),
    )
    with node_process('perception', *arguments) as process:
        cameras = Cameras(graph, '/robot', 'front', 'left', image='image_raw')
        stamps = itertools.count(1)

        def has_result(name: str) -> bool:
            cameras.send(name, next(stamps))
            return bool(cameras.found[name])

        # The other process may discover these topics later than this one discovers its topics.
        assert graph.spin_until(lambda: has_result('front') and has_result('left'))
        for stamp_s in (100_001, 100_002, 100_003):
            for name in ('front', 'left'):
                cameras.send(name, stamp_s)
                cameras.wait_for(name, stamp_s)
        assert len(cameras.found['front'][-1].detections) > 1
        assert len(cameras.found['left'][-1].detections) == 1
        for name in ('front', 'left'):
            assert cameras.report(f'/robot/{name}/perception: input').hardware_id == name
        names = {n for n, _ in graph.nodes[0].get_node_names_and_namespaces()}
        assert names == {'drivers', 'perception'}
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ''


def test_faults_of_one_camera_hurt_no_other(graph: RosGraph, tiny: Path) -> None:
    inside = InProcess(graph, tiny, 'front', 'left', 'rear', **{'input.timeout_ms': 300.0})
    cameras = Cameras(graph, '', 'front', 'left', 'rear')
    assert graph.spin_until(lambda: cameras.connected)
    # The left camera sends damaged images and the rear one none.
    rejects = inside.nodes['left'].health.rejects
    for stamp_s in range(1, 6):
        cameras.send('left', stamp_s, encoding='no_such_encoding')
        cameras.send('front', stamp_s)
        cameras.wait_for('front', stamp_s)
        # A newer image would replace it.
        assert graph.spin_until(lambda stamp_s=stamp_s: sum(rejects.values()) == stamp_s)
    assert cameras.stamps('front') == [1, 2, 3, 4, 5]
    assert not cameras.found['left']
    # It is said with the next diagnostics.
    assert graph.spin_until(
        lambda: 'no image for' in cameras.report('/rear/perception: input').message
    )
    assert not inside.nodes['front'].health.rejects
    # A defect in the run of one camera.
    inside.nodes['left'].pipeline.runner = None  # type: ignore[assignment]
    cameras.send('left', 6)
    assert graph.spin_until(lambda: inside.nodes['left'].health.drops['internal_error'] == 1)
    # Its node ends.
    assert inside.nodes['left'].trigger_deactivate()
    assert inside.nodes['left'].trigger_cleanup()
    cameras.send('front', 7)
    cameras.wait_for('front', 7)
    assert cameras.report('/front/perception: perception').level == DiagnosticStatus.OK


def test_cameras_share_weights_and_one_compute_budget(graph: RosGraph, tiny: Path) -> None:
    inside = InProcess(graph, tiny, 'front', 'left', **{'budget.compute': 0.5})
    front, left = (node.pipeline for node in inside.nodes.values())
    assert front is not None
    assert left is not None
    assert front.runner is left.runner
    assert front.state is not left.state
    cameras = Cameras(graph, '', 'front', 'left')
    assert graph.spin_until(lambda: cameras.connected)
    for name in ('front', 'left'):
        cameras.send(name, 1)
        cameras.wait_for(name, 1)
    assert front.state.spending is left.state.spending
    weights = weakref.ref(front.runner)
    del front, left
    for name, node in inside.nodes.items():
        assert weights() is not None, name
        node.trigger_deactivate()
        node.trigger_cleanup()
    gc.collect()
    assert weights() is None


def test_a_camera_with_another_model_loads_its_own(tiny: Path) -> None:
    pool = ModelPool(2)
    settings = PerceptionSettings().changed({'model': str(tiny)})
    other = settings.changed({'runtime.threads': 2})
    models = [pool.model(one) for one in (settings, settings, other)]
    assert models[0] is models[1]
    assert models[0] is not models[2]


@pytest.mark.parametrize(
    ('names', 'words'),
    [
        (['front', 'front'], 'names a camera twice: front, front'),
        (['none', 'front'], "found 'none'"),
        (['front camera'], "such as front or arm/left, found 'front camera'"),
        (['/front'], "found '/front'"),
        (['..'], "found '..'"),
        (['a' * 101], 'of at most 100 characters'),
    ],
)
def test_names_that_are_no_namespaces_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        PerceptionSettings().changed({'cameras': names})


@pytest.mark.parametrize('name', ['cameras', 'detection.classes', 'no.such.name'])
def test_an_empty_list_is_refused_by_its_name(graph: RosGraph, name: str) -> None:
    arguments = ['--ros-args', '-p', f'{name}:=[]']
    with pytest.raises(OptionError, match=rf'^{name} has no value or an empty list'):
        graph.add(lambda **kwargs: PerceptionNode(cli_args=arguments, **kwargs))


def test_renames_of_the_process_do_not_reach_the_nodes_of_the_cameras() -> None:
    given = ['perception', '--ros-args', '-r', '__node:=eyes', '--remap', 'perception:__ns:=/r']
    kept = ['-r', 'image:=image_raw', '-p', 'model:=tiny']
    assert without_renames(given + kept) == ['perception', '--ros-args', *kept]
