# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The process of a node: signals, errors and the exit status."""

from __future__ import annotations

import signal
import subprocess
import textwrap
import time
from contextlib import AbstractContextManager

import pytest
from ros_graph import program

PATIENCE_S = 30.0


def process(body: str, *arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """A process that runs a node class ``N`` with this body; it prints ``spins`` when it spins."""
    code = f"""
import os, signal, sys, time
from rclpy.node import Node
from mt_perception.nodes.run_node import run_node

class N(Node):
    def __init__(self):
        super().__init__('n')
        self.create_timer(0.0, self.on_timer)
        self.spins = False

    def on_timer(self):
        if not self.spins:
            self.spins = True
            print('spins', flush=True)
        self.work()

    def work(self):
        pass

{textwrap.indent(textwrap.dedent(body), '    ')}

sys.exit(run_node(N, sys.argv, done=lambda node: getattr(node, 'finished', False)))
"""
    return program('-c', code, *arguments)


def spins(node: subprocess.Popen[str]) -> None:
    assert node.stdout is not None
    assert node.stdout.readline() == 'spins\n'


def ended(node: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit status and the rest of the output."""
    assert node.stdout is not None
    return node.wait(PATIENCE_S), node.stdout.read()


IDLE = """
def work(self):
    # Nothing else wakes the executor.
    for timer in self.timers:
        timer.cancel()
"""
# Most of its time in rclpy's conversion between Python and C.
CONVERTS = """
def work(self):
    from sensor_msgs.msg import PointCloud2, PointField
    from rclpy.serialization import serialize_message
    message = PointCloud2(fields=[PointField(name=str(i)) for i in range(50)])
    for _ in range(20):
        serialize_message(message)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize('body', [IDLE, CONVERTS], ids=['idle', 'busy'])
def test_signals_end_a_node_with_status_0_and_in_silence(
    body: str, number: signal.Signals
) -> None:
    for pause_s in (0.0, 0.003, 0.02):
        with process(body) as node:
            spins(node)
            time.sleep(pause_s)
            for _ in range(5):
                if node.poll() is None:
                    node.send_signal(number)
                    time.sleep(0.01)
            assert ended(node) == (0, '')


def test_an_invalid_log_level_is_one_sentence() -> None:
    with process('', '--ros-args', '--log-level', 'verbose') as node:
        status, said = ended(node)
    assert status == 1
    assert 'verbose' in said
    assert 'command line' in said
    assert 'Traceback' not in said


def test_an_error_of_a_callback_ends_the_process_with_status_1() -> None:
    with process("def work(self):\n    raise ZeroDivisionError('a defect')") as node:
        spins(node)
        status, said = ended(node)
    assert status == 1
    assert 'a defect' in said


def test_an_error_while_the_node_is_destroyed_is_not_hidden() -> None:
    body = """
    def destroy_node(self):
        super().destroy_node()
        raise ZeroDivisionError('a defect at the end')
    """
    with process(body) as node:
        spins(node)
        node.send_signal(signal.SIGINT)
        status, said = ended(node)
    assert status == 1
    assert 'a defect at the end' in said


def test_a_signal_that_arrives_before_the_node_spins_is_not_lost() -> None:
    body = """
    def __new__(cls):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        return super().__new__(cls)
    """
    with process(body) as node:
        assert ended(node) == (0, '')


def test_a_node_that_has_finished_ends_its_process() -> None:
    with process('def work(self):\n    self.finished = True') as node:
        spins(node)
        assert ended(node) == (0, '')


IN_THE_FRAME_THREAD = """
    def work(self):
        import hashlib
        from mt_perception.nodes.frame_worker import FrameWorker

        def process(item):
            running.append(item)
            hashlib.pbkdf2_hmac('sha256', b'p', b's', (1 << 31) - 1)

        for timer in self.timers:
            timer.cancel()
        running = []
        self.slot = FrameWorker().slot(process, lambda: None)
        self.slot.submit(1)
        while not running:
            time.sleep(0.001)
        print('runs', flush=True)

    def destroy_node(self):
        self.slot.close()
        super().destroy_node()
    """
# Without offloading a frame is run by the executor's thread.
IN_A_CALLBACK = """
    def work(self):
        import hashlib
        print('runs', flush=True)
        hashlib.pbkdf2_hmac('sha256', b'p', b's', (1 << 31) - 1)
    """


@pytest.mark.parametrize('body', [IN_THE_FRAME_THREAD, IN_A_CALLBACK], ids=['frame', 'callback'])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_does_not_wait_for_compiled_code_that_never_ends(
    number: signal.Signals, body: str
) -> None:
    """Nothing can stop it, and the node ends without it."""
    with process(body) as node:
        spins(node)
        assert node.stdout.readline() == 'runs\n'
        node.send_signal(number)
        assert ended(node) == (0, '')
