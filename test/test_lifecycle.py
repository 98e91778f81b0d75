# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's life: it starts itself, obeys a manager, and survives bad requests."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from ros_graph import Peer, RosGraph, camera_info, image_message, patch
from sensor_msgs.msg import Image
from tiny_model import write_tiny_model

from mt_perception.errors import OptionError
from mt_perception.nodes.perception import PerceptionNode

SUCCESS = TransitionCallbackReturn.SUCCESS


class Manager:
    """A lifecycle manager on the other side."""

    def __init__(self, graph: RosGraph) -> None:
        self.graph = graph
        self.node: Node = graph.add(lambda **kwargs: Node('manager', **kwargs))
        self.changes = self.node.create_client(ChangeState, '/perception/change_state')
        self.states = self.node.create_client(GetState, '/perception/get_state')
        assert graph.spin_until(
            lambda: self.changes.service_is_ready() and self.states.service_is_ready()
        )

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = self.changes.call_async(request)
        assert self.graph.spin_until(answer.done)
        return bool(answer.result().success)

    @property
    def state(self) -> str:
        answer = self.states.call_async(GetState.Request())
        assert self.graph.spin_until(answer.done)
        return str(answer.result().current_state.label)


def test_it_starts_itself(graph: RosGraph, tiny: Path) -> None:
    node = graph.add(PerceptionNode, model=str(tiny))
    assert graph.spin_until(lambda: node.state == 'active')


def test_a_manager_takes_it_through_its_life(graph: RosGraph, tiny: Path) -> None:
    node = graph.add(PerceptionNode, model=str(tiny), autostart=False)
    manager = Manager(graph)
    assert manager.state == 'unconfigured'
    assert node.pipeline is None
    for transition, state in (
        (Transition.TRANSITION_CONFIGURE, 'inactive'),
        (Transition.TRANSITION_ACTIVATE, 'active'),
        (Transition.TRANSITION_DEACTIVATE, 'inactive'),
        (Transition.TRANSITION_ACTIVATE, 'active'),
        (Transition.TRANSITION_DEACTIVATE, 'inactive'),
        (Transition.TRANSITION_CLEANUP, 'unconfigured'),
        (Transition.TRANSITION_CONFIGURE, 'inactive'),
        (Transition.TRANSITION_INACTIVE_SHUTDOWN, 'finalized'),
    ):
        assert manager.change(transition)
        assert manager.state == state
    assert node.pipeline is None


def test_requests_that_make_no_sense_are_refused(graph: RosGraph, tiny: Path) -> None:
    node = graph.add(PerceptionNode, model=str(tiny), autostart=False)
    manager = Manager(graph)
    transitions = (
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_ACTIVATE,
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_ACTIVE_SHUTDOWN,
        99,
    )
    allowed = {
        'unconfigured': {Transition.TRANSITION_CONFIGURE},
        'inactive': {Transition.TRANSITION_CLEANUP, Transition.TRANSITION_ACTIVATE},
        'active': {Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN},
    }
    ways = (('unconfigured', None), ('inactive', 'configure'), ('active', 'activate'))
    for state, way in ways:
        if way:
            assert getattr(node, f'trigger_{way}')() == SUCCESS
        for transition in transitions:
            if transition not in allowed[state]:
                assert not manager.change(transition), (state, transition)
                assert manager.state == state


def test_a_bad_model_is_a_failure_that_can_be_mended(
    graph: RosGraph, tiny: Path, tmp_path: Path
) -> None:
    bad = write_tiny_model(tmp_path / 'bad')
    (bad / 'depth.onnx').write_bytes(b'not what the manifest says')
    node = graph.add(PerceptionNode, model=str(bad))
    manager = Manager(graph)
    assert manager.state == 'unconfigured'
    assert 'sha256' in node.fault
    assert not manager.change(Transition.TRANSITION_CONFIGURE)
    assert node.set_parameters([Parameter('model', value=str(tiny))])[0].successful
    assert manager.change(Transition.TRANSITION_CONFIGURE)
    assert node.fault == ''
    assert manager.change(Transition.TRANSITION_ACTIVATE)


def test_a_missing_model_names_what_there_is(graph: RosGraph) -> None:
    node = graph.add(PerceptionNode, model='/nowhere/at/all')
    assert graph.spin_until(lambda: node.fault)
    assert '/nowhere/at/all' in node.fault
    assert 'expected' in node.fault


def test_an_unforeseen_exception_is_a_failure_too(
    graph: RosGraph, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*args: object) -> None:
        raise ZeroDivisionError('an accident')

    node = graph.add(PerceptionNode, model=str(tiny), autostart=False)
    with monkeypatch.context() as patched:
        patched.setattr('mt_perception.nodes.frame_processor.Publishers', explode)
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert (node.state, node.fault) == ('unconfigured', 'an accident')
    assert node.trigger_configure() == SUCCESS


def test_a_refused_parameter_leaves_no_node_behind(graph: RosGraph, tiny: Path) -> None:
    with pytest.raises(OptionError):
        graph.add(
            lambda **kwargs: PerceptionNode(namespace='/refused', **kwargs),
            model=str(tiny),
            **{'points.stride': 0},
        )
    watcher = graph.add(lambda **kwargs: Node('watcher', **kwargs))
    assert graph.spin_until(
        lambda: ('perception', '/refused') not in watcher.get_node_names_and_namespaces()
    )


def test_a_destroyed_node_leaves_at_once(graph: RosGraph, tiny: Path) -> None:
    watcher = graph.add(lambda **kwargs: Node('watcher', **kwargs))
    node = PerceptionNode(context=graph.context)
    assert graph.spin_until(lambda: 'perception' in watcher.get_node_names())
    node.destroy_node()
    assert graph.spin_until(lambda: 'perception' not in watcher.get_node_names())


def test_fifty_lives_leave_nothing_behind(graph: RosGraph, tiny: Path) -> None:
    node = graph.add(PerceptionNode, model=str(tiny), autostart=False)

    def live() -> None:
        for way in ('configure', 'activate', 'deactivate', 'cleanup'):
            assert getattr(node, f'trigger_{way}')() == SUCCESS
        graph.executor.spin_once(timeout_sec=0)

    live()
    before = threads(), len(list(node.subscriptions)), len(list(node.publishers))
    timers = len(list(node.timers))
    for _ in range(50):
        live()
    after = threads(), len(list(node.subscriptions)), len(list(node.publishers))
    assert after == before
    assert len(list(node.timers)) == timers
    assert node.trigger_configure() == SUCCESS


def test_hundreds_of_frames_need_no_more_memory(graph: RosGraph, tiny: Path) -> None:
    node = graph.add(PerceptionNode, model=str(tiny))
    peer = graph.add(Peer)
    for topic in ('depth/image', 'segmentation/image', 'overlay/image'):
        peer.create_subscription(Image, f'/perception/{topic}', lambda message: None, 1)
    assert graph.spin_until(
        lambda: node.state == 'active' and len(node.processor.publishers.subscribed()) == 3
    )
    image, info = image_message(patch((0, 0, 255))), camera_info(128, 96)

    def pass_frames(count: int) -> tuple[int, int]:
        for _ in range(count):
            before = node.health.processed
            node._on_image(image, info, time.monotonic())
            while node.health.processed == before:
                time.sleep(0.0005)
        return threads(), resident_kib()

    threads_before, memory_before = pass_frames(200)
    threads_after, memory_after = pass_frames(500)
    assert node.health.processed == 700
    assert threads_after == threads_before
    assert memory_after - memory_before < 4096


def threads() -> int:
    return len(list(Path('/proc/self/task').iterdir())) if PROC else threading.active_count()


def resident_kib() -> int:
    if not PROC:
        return 0
    status = Path('/proc/self/status').read_text()
    return int(status.split('VmRSS:')[1].split()[0])


PROC = Path('/proc/self/status').is_file()
