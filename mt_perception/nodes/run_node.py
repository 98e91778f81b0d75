# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The main function of every program of nodes: middleware, spin loop, signals and exit status."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from mt_perception.errors import PerceptionError
from mt_perception.nodes.frame_worker import STOP_S, THREAD
from mt_perception.nodes.shared_memory import remove_stale_segments, use_shared_memory

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_node(
    make_node: Callable[[], Node],
    args: Sequence[str] | None = None,
    done: Callable[[Node], bool] = lambda node: False,
) -> int:
    """Create a node and spin it until SIGINT, SIGTERM or the end of its work.

    Args:
        make_node: Creates the node; a PerceptionError from it is logged as one line.
        args: Command line with ``--ros-args``; None uses that of the process.
        done: Returns whether the node has finished its work; called after every event.

    Returns:
        The exit status: 0 after a signal or the end of the work, 1 after any error.
    """
    return run_nodes(lambda: [make_node()], args, lambda nodes: done(nodes[0]))


def run_nodes(
    make_nodes: Callable[[], Sequence[Node]],
    args: Sequence[str] | None = None,
    done: Callable[[Sequence[Node]], bool] = lambda nodes: False,
    make_executor: Callable[[], Executor] = SingleThreadedExecutor,
) -> int:
    """Create nodes and spin them in one executor; otherwise as ``run_node``."""
    stop = StopRequest()
    use_shared_memory(os.environ)
    remove_stale_segments()
    try:
        rclpy.init(
            args=None if args is None else list(args),
            signal_handler_options=SignalHandlerOptions.NO,
        )
    except Exception as error:
        # The exceptions of rclpy.init have no common base class.
        sys.stderr.write(f'mt_perception: the command line is not valid: {error}\n')
        return 1
    nodes: Sequence[Node] = ()
    status = 0
    try:
        nodes = make_nodes()
        stop.wakes(nodes[0])
        executor = make_executor()
        for node in nodes:
            executor.add_node(node)
        while not stop.requested and rclpy.ok() and not done(nodes):
            executor.spin_once()
    except ExternalShutdownException:
        pass
    except PerceptionError as error:
        get_logger('mt_perception').fatal(str(error))
        status = 1
    except Exception:
        status = _report_unless_shut_down()
    stop.served.set()
    status = max(status, _shut_down(nodes))
    _exit_if_overrunning(status)
    return status


def _shut_down(nodes: Sequence[Node]) -> int:
    """Destroy the nodes and end ROS; the status is 1 if a node cannot be destroyed."""
    status = 0
    for node in nodes:
        try:
            node.destroy_node()
        except Exception:
            status = _report_unless_shut_down()
    # Python restores the default handlers when it exits, and a late signal would end the process
    # with a status other than ours.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    rclpy.try_shutdown()
    return status


def _exit_if_overrunning(status: int) -> None:
    """End the process at once if a frame or its decoder is still in compiled code.

    At the regular end it would find no interpreter, which aborts the process.
    """
    if any(thread.name.startswith(THREAD) for thread in threading.enumerate()):
        _exit_at_once(status)


def _exit_at_once(status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _report_unless_shut_down() -> int:
    """Print the current exception and return 1; once ROS is down it is only a consequence."""
    if not rclpy.ok():
        return 0
    traceback.print_exc()
    return 1


class StopRequest:
    """Records SIGINT and SIGTERM and wakes the executor.

    No exception is raised from a signal handler: in rclpy's C++ code it would be lost or end the
    process with a traceback. The interpreter writes each signal to a socket, and a thread that
    reads it sets the flag, because a handler in Python has to wait until ``rcl_wait`` returns.
    That thread also ends the process if a callback does not return in time.

    Attributes:
        requested: Whether a signal has arrived.
        served: Set by the executor's thread when it has left the spin loop.
    """

    def __init__(self) -> None:
        self.requested = False
        self.served = threading.Event()
        self._wake: Callable[[], None] = lambda: None
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, lambda number, frame: None)
        threading.Thread(target=self._read, name='signals', daemon=True).start()

    def wakes(self, node: Node) -> None:
        """Let a signal end the current ``spin_once`` of the node's executor."""
        self._wake = node.create_guard_condition(lambda: None).trigger
        if self.requested:
            self._wake()

    def _read(self) -> None:
        while (number := self._reader.recv(1)) and number[0] not in _SIGNALS:
            pass
        self.requested = True
        # The node may have finished its work and been destroyed.
        with contextlib.suppress(InvalidHandle):
            self._wake()
        if not self.served.wait(STOP_S):
            # A network or a decoder does not end, and compiled code cannot be stopped.
            _exit_at_once(0)
