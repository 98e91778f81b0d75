# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs a node and a remote host for a long time with faults, and accounts for every image.

    python benchmarks/soak.py --minutes 30

A camera publishes images, some of them invalid. The node offloads to a host that is killed, frozen
and stopped in turn, and is itself ended by SIGTERM and started again. At the end of each life of
the node, published images = received + superseded, and received = processed + rejected + dropped
for other reasons. Memory and threads of the node are compared between the first and the last third
of a life. Models are the tiny ones of the tests, so that the load is that of the messages.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from processes import perception_process
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from mt_perception.evaluation.link import host_process
from mt_perception.evaluation.link.host_process import HostProcess
from mt_perception.geometry.camera import typical
from mt_perception.nodes.conversions import camera_info_of, ros_time
from mt_perception.nodes.standalone_node import StandaloneNode

ROOT = Path(__file__).resolve().parent.parent
START_S = 300.0
END_S = 180.0
HEIGHT, WIDTH = 96, 128


@dataclass
class Life:
    """Observations of the node between its start and its end."""

    published: Counter[str] = field(default_factory=Counter)
    stats: Counter[str] = field(default_factory=Counter)
    totals: dict[str, int] = field(default_factory=dict)
    rss_kb: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    remote: int = 0


def damaged(message: Image, kind: str) -> Image:
    """The image with one fault."""
    if kind == 'encoding':
        message.encoding = 'no_such_encoding'
    elif kind == 'short':
        message.data = message.data[:-7]
    elif kind == 'zero':
        message.height = 0
    elif kind == 'step':
        message.step = 1
    return message


FAULTS = ('encoding', 'short', 'zero', 'step')


class Soak:
    """A camera, the node's process, and a listener."""

    def __init__(
        self, folder: Path, host: HostProcess, rate_hz: float, deadline_ms: float
    ) -> None:
        self.life = Life()
        self._folder = folder
        self._host = host
        self._period_s = 1 / rate_hz
        self._deadline_ms = deadline_ms
        self._camera = StandaloneNode('soak')
        node = self._camera.node
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._images = node.create_publisher(Image, 'image', qos)
        self._infos = node.create_publisher(CameraInfo, 'camera_info', qos)
        many = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)
        node.create_subscription(DiagnosticArray, '/perception/stats', self._on_stats, many)
        node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, many)
        node.create_subscription(Detection2DArray, '/perception/detections', lambda m: None, many)
        random = np.random.default_rng(0)
        self._pixels = [random.integers(0, 255, HEIGHT * WIDTH * 3, np.uint8) for _ in range(8)]
        self._numbers = itertools.count(1)

    def start(self) -> None:
        """Start the node and wait until it is subscribed and the listeners are."""
        self.life = Life()
        self.process = perception_process(
            model=self._folder,
            offload__enabled=True,
            offload__endpoint=self._host.address,
            offload__mode='always',
            offload__deadline_ms=self._deadline_ms,
        )
        self._await(lambda: self._images.get_subscription_count() > 0, START_S)
        self._await(lambda: bool(self.life.totals), START_S)

    def run(self, seconds: float, events: Callable[[], None]) -> None:
        """Publish images for a time; call ``events`` with each."""
        sampled_s = start_s = time.monotonic()
        while time.monotonic() - start_s < seconds:
            self.publish()
            events()
            if time.monotonic() - sampled_s > 5:
                sampled_s = time.monotonic()
                self._sample()
            end_s = time.monotonic() + self._period_s
            while (left_s := end_s - time.monotonic()) > 0:
                self._camera.executor.spin_once(timeout_sec=left_s)

    def publish(self) -> None:
        number = next(self._numbers)
        header = Header(stamp=ros_time(time.time_ns()), frame_id='camera')
        message = Image(
            header=header, height=HEIGHT, width=WIDTH, encoding='bgr8', step=3 * WIDTH,
            data=self._pixels[number // 40 % len(self._pixels)].tobytes(),
        )  # fmt: skip
        kind = 'sound' if number % 25 else FAULTS[number // 25 % len(FAULTS)]
        self._infos.publish(camera_info_of(header, typical(HEIGHT, WIDTH)))
        self._images.publish(damaged(message, kind))
        self.life.published[kind] += 1

    def account(self) -> list[str]:
        """Wait until every image is accounted for; return the inconsistencies."""
        self._await(lambda: not self._faults(), END_S)
        return self._faults()

    def end(self) -> int:
        """End the node by SIGTERM; return its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self._camera.close()

    def _faults(self) -> list[str]:
        total, found = self.life.totals, []
        superseded = total.get('dropped.superseded', 0)
        sent, received = self.life.published.total(), total.get('received', 0)
        if sent != received + superseded:
            found.append(f'{sent} published, {received} received + {superseded} superseded')
        other = total.get('dropped', 0) - superseded
        parts = [total.get(name, 0) for name in ('processed', 'rejected', 'without_subscribers')]
        if received != sum(parts) + other:
            found.append(
                f'{received} received, {parts} processed, rejected, idle + {other} dropped'
            )
        told = self.life.stats.total()
        if told != parts[0] + parts[1]:
            found.append(f'{told} stats for {parts[0]} processed and {parts[1]} rejected')
        return found

    def _await(self, condition: Callable[[], bool], seconds: float) -> None:
        self._camera.spin_until(lambda: condition() or self.process.poll() is not None, seconds)

    def _sample(self) -> None:
        lines = Path(f'/proc/{self.process.pid}/status').read_text(encoding='utf-8').splitlines()
        values = dict(line.split(':', 1) for line in lines)
        self.life.rss_kb.append(int(values['VmRSS'].split()[0]))
        self.life.threads.append(int(values['Threads']))

    def _on_stats(self, message: Any) -> None:
        values = {v.key: v.value for v in message.status[0].values}
        self.life.stats['rejected' if 'rejected' in values else 'processed'] += 1
        self.life.remote += values.get('offload.remote') == 'True'

    def _on_diagnostics(self, message: Any) -> None:
        for status in message.status:
            for value in status.values:
                if value.value.isdecimal():
                    self.life.totals[value.key] = int(value.value)


def faults_of_host(host: HostProcess, every_s: float) -> Callable[[], None]:
    """Kills, freezes and stops the host in turn, and brings it back."""
    restart = partial(host.start, wait=False)
    script = itertools.cycle(
        (
            *((host.freeze, True), (host.thaw, False), (host.kill, True), (restart, False)),
            *((host.terminate, True), (restart, False)),
        )
    )
    due_s = time.monotonic() + every_s

    def events() -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            action, host_is_away = next(script)
            action()
            # Long enough without faults for the circuit breaker to close again.
            due_s = time.monotonic() + every_s * (1 if host_is_away else 4)

    return events


def growth(values: list[int]) -> str:
    third = max(1, len(values) // 3)
    first, last = np.median(values[third // 2 : third + third // 2]), np.median(values[-third:])
    return f'{first:.0f} then {last:.0f} ({last / max(first, 1):.3f})'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--minutes', type=float, default=30.0)
    parser.add_argument('--lives', type=int, default=2, help='Starts of the node.')
    parser.add_argument('--rate-hz', type=float, default=10.0)
    parser.add_argument('--deadline-ms', type=float, default=300.0)
    parser.add_argument('--fault-s', type=float, default=5.0, help='Length of a fault.')
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / 'test'))
    from tiny_cut import write_tiny_cut

    os.environ.setdefault('ROS_DOMAIN_ID', str(os.getpid() % 100 + 100))
    # A busy machine.
    host_process.PATIENCE_S = START_S
    wrong = False
    with tempfile.TemporaryDirectory() as name:
        folder = write_tiny_cut(Path(name) / 'tiny')
        with HostProcess(folder) as host:
            soak = Soak(folder, host, given.rate_hz, given.deadline_ms)
            events = faults_of_host(host, given.fault_s)
            try:
                for number in range(given.lives):
                    soak.start()
                    soak.run(given.minutes * 60 / given.lives, events)
                    faults = soak.account()
                    life, status = soak.life, soak.end()
                    wrong = wrong or bool(faults) or status != 0
                    print(f'life {number + 1}: published {dict(life.published)}')
                    kept = ('received', 'processed', 'rejected', 'dropped', 'failed')
                    print('  ' + ', '.join(
                        f'{key} {value}' for key, value in sorted(life.totals.items())
                        if key.split('.')[0] in kept
                    ))  # fmt: skip
                    print(f'  results of the host {life.remote}, stats {dict(life.stats)}')
                    print(f'  RSS in kB {growth(life.rss_kb)}, threads {growth(life.threads)}')
                    print(
                        f'  status {status}; account: {"; ".join(faults) or "exact"}', flush=True
                    )
            finally:
                soak.close()
    sys.exit(wrong)


if __name__ == '__main__':
    main()
