# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The process of a node: shared-memory transport, one executor, a clean exit on signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node

from mt_perception.errors import PerceptionError
from mt_perception.resources import share_folder


def spin(
    make_node: Callable[[], Node],
    args: Sequence[str] | None = None,
    done: Callable[[Node], bool] = lambda node: False,
) -> int:
    """Make a node and spin it until a signal comes or it is done.

    Args:
        make_node: Makes the node; what it refuses to start with is logged as one line.
        args: Command line, with ``--ros-args``; None takes that of the process.
        done: Asked after every event whether the node has finished by itself.

    Returns:
        The exit status: 1 where the node could not start or broke off, else 0.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    use_shared_memory(os.environ)
    rclpy.init(args=None if args is None else list(args))
    node = None
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while rclpy.ok() and not done(node):
            executor.spin_once()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except PerceptionError as error:
        get_logger('mt_perception').fatal(str(error))
        return 1
    except Exception:
        # What breaks while the middleware goes away is no fault of the node.
        if rclpy.ok():
            raise
    finally:
        # An impatient second Ctrl-C would leave shared memory behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


# Fast DDS 2 (Humble, Jazzy) reads the second name, Fast DDS 3 (Kilted) the first.
VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')


def profile_file() -> Path:
    """The Fast DDS profile that we ship."""
    return share_folder() / 'config' / 'fastdds_shm.xml'


def use_shared_memory(environment: MutableMapping[str, str]) -> bool:
    """Let Fast DDS use our profile; call it before a node is made.

    Args:
        environment: The variables of this process, or of one to be started; is changed.

    Returns:
        Whether our profile is used; False where the user has one of his own.
    """
    profile = str(profile_file())
    if any(environment.get(name, profile) != profile for name in VARIABLES):
        return False
    environment.update(dict.fromkeys(VARIABLES, profile))
    return True
