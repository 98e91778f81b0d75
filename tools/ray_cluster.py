# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a command with a local Ray cluster, whose start a busy computer only delays.

``ray.init`` starts a cluster with time limits of 15 to 30 s that no setting changes, and what a
start that failed leaves in its process spoils the next. Here the cluster has processes of its own
and is started again when the start failed. The command itself runs once.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

STARTS = 4

STARTED = 'Ray runtime started.'

SETTINGS = {
    'RAY_AUTH_MODE': 'token',
    'RAY_DASHBOARD_STARTUP_TIMEOUT_S': '600',
    'RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S': '0',
    'RAY_START_HOOK': 'ray_cluster.without_client_server',
    'RAY_USAGE_STATS_ENABLED': '0',
    'RAY_agent_register_timeout_ms': '600000',
    'RAY_gcs_server_request_timeout_seconds': '600',
    'RAY_health_check_failure_threshold': '200',
    'RAY_raylet_start_wait_time_s': '600',
    'RAY_worker_niceness': '0',
    'RAY_worker_register_timeout_seconds': '600',
    'PYTHONUNBUFFERED': '1',
}
"""Time limits far above what a start takes, and workers that get their share of a busy core.

Their niceness is 15 by default: beside one process that uses a core they get 3 % of it.
"""

PORTS = (
    'port',
    'node-manager-port',
    'dashboard-agent-listen-port',
    'dashboard-agent-grpc-port',
    'runtime-env-agent-port',
    'metrics-export-port',
)
"""Options of ``ray start``; it waits 15 s at most for agents whose ports it does not know."""


Start = Callable[[list[int], Path], list[str]]
"""The command that starts a cluster at six ports with an empty folder; it prints ``STARTED``."""


def main(arguments: list[str]) -> int:
    """Run a command with the variables by which Ray finds the cluster; return its status."""
    # Whoever stops this stops the cluster too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    environment = {**os.environ, **SETTINGS, 'RAY_AUTH_TOKEN': secrets.token_hex(32)}
    with ray_cluster(ray_start, environment) as address:
        command = subprocess.run(
            arguments, env={**environment, 'RAY_ADDRESS': address}, check=False
        )
    return command.returncode


def without_client_server(parameters: Any, head: bool) -> None:
    """Called by ``ray start``, whose options cannot leave this server out."""
    parameters.ray_client_server_port = None


def ray_start(ports: list[int], folder: Path) -> list[str]:
    """The command that starts a cluster for two processes and stays until it is ended."""
    return [
        *(sys.executable, '-m', 'ray.scripts.scripts', 'start', '--head', '--block'),
        *('--node-ip-address=127.0.0.1', '--num-cpus=2', f'--temp-dir={folder}'),
        *(f'--{name}={port}' for name, port in zip(PORTS, ports, strict=True)),
        *('--include-dashboard=false', '--no-monitor'),
    ]


@contextmanager
def ray_cluster(start: Start, environment: dict[str, str]) -> Iterator[str]:
    """The address of a cluster, until the end of the block.

    Args:
        start: The start.
        environment: Its variables.

    Raises:
        SystemExit: No start succeeded.
    """
    paths = [str(Path(__file__).parent), environment.get('PYTHONPATH', '')]
    environment = {**environment, 'PYTHONPATH': os.pathsep.join(filter(None, paths))}
    for attempt in range(1, STARTS + 1):
        ports = free_ports(len(PORTS))
        # A short path: Ray makes sockets in it.
        with tempfile.TemporaryDirectory(prefix='ray', ignore_cleanup_errors=True) as folder:
            log = Path(folder, 'start.txt')
            with log.open('w') as output:
                process = subprocess.Popen(
                    start(ports, Path(folder)),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
            try:
                while process.poll() is None and STARTED not in log.read_text():
                    time.sleep(0.1)
                if process.poll() is None:
                    yield f'127.0.0.1:{ports[0]}'
                    return
                print(f'start {attempt} of {STARTS} failed: {log.read_text()[-3000:]}')
            finally:
                end(process)
    raise SystemExit('no Ray cluster')


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    with ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(('127.0.0.1', 0))
        return [each.getsockname()[1] for each in bound]


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a cluster with everything that it started."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(60)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
