# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Time from a new subscriber to its first result, with ``input.lazy`` and without.

Both nodes are processes of their own with one camera each, and take turns. Between two
subscribers the lazy node unsubscribes from its camera. The bar is two periods of the camera and
one run (the median time from the arrival of an image to its last output).

Usage: python benchmarks/bench_first_result.py [--rate 10] [--rounds 20]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import rclpy
from bench_node_latency import picture
from processes import perception_process, use_local_ros
from rclpy.executors import SingleThreadedExecutor

from mt_perception.geometry.camera import typical
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.result_collector import ResultCollector
from mt_perception.types import DETECTION, Frame

PATIENCE_S = 60.0
IDLE_S = 0.5
NAMES = ('lazy', 'always')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rate', type=float, default=10.0)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--model', default='cspnano')
    arguments = parser.parse_args()
    use_local_ros()
    nodes = [
        perception_process(
            '-r', f'__ns:=/{name}', model=arguments.model, input__lazy=name == 'lazy'
        )
        for name in NAMES
    ]
    rclpy.init()
    try:
        first_ms, run_ms = measure(1 / arguments.rate, arguments.rounds)
    finally:
        rclpy.try_shutdown()
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait()
    bar_ms = 2e3 / arguments.rate + run_ms
    print(f'{arguments.rate:g} Hz, one run {run_ms:.0f} ms, bar {bar_ms:.0f} ms')
    for name, ms in first_ms.items():
        within = np.mean(np.array(ms) <= bar_ms)
        print(
            f'{name:8} first result: median {np.median(ms):5.0f} ms, p95 '
            f'{np.quantile(ms, 0.95):5.0f} ms, {within:.0%} within the bar'
        )


def measure(period_s: float, rounds: int) -> tuple[dict[str, list[float]], float]:
    """Return node → milliseconds to the first result, and the median of one run."""
    executor = SingleThreadedExecutor()
    cameras = {}
    for name in NAMES:
        node = rclpy.create_node('camera', namespace=name)
        executor.add_node(node)
        cameras[name] = node, FramePublisher(node)
    frame = Frame(picture(640, 480), 1, 'camera', typical(480, 640))
    stamps = iter(range(1, 1 << 62))
    next_s = time.monotonic()

    def spin() -> None:
        nonlocal next_s
        if time.monotonic() >= next_s:
            next_s += period_s
            stamp_ns = next(stamps)
            for _, publisher in cameras.values():
                publisher.publish(frame, stamp_ns=stamp_ns)
        executor.spin_once(timeout_sec=0.002)

    def spin_until_idle() -> None:
        """Wait until only the camera of the lazy node has no subscriber."""
        end = time.monotonic() + PATIENCE_S
        while cameras['lazy'][1].listeners or not cameras['always'][1].listeners:
            if time.monotonic() > end:
                raise SystemExit('the nodes did not start')
            spin()
        end = time.monotonic() + IDLE_S
        while time.monotonic() < end:
            spin()

    first_ms: dict[str, list[float]] = {name: [] for name in NAMES}
    runs_ms = []
    generator = np.random.default_rng(0)
    for _ in range(rounds):
        for name, (node, _) in cameras.items():
            spin_until_idle()
            # A subscriber comes at any time between two images.
            end = time.monotonic() + generator.uniform(0, period_s)
            while time.monotonic() < end:
                spin()
            start = time.monotonic()
            collector = ResultCollector(node, [DETECTION], f'/{name}/perception')
            while not collector.complete and time.monotonic() - start < PATIENCE_S:
                spin()
            record = collector.take(collector.complete[0])
            assert record is not None
            first_ms[name].append((time.monotonic() - start) * 1e3)
            runs_ms.append(float(record.stats['latency_ms.node']))
            for subscription in list(node.subscriptions):
                node.destroy_subscription(subscription)
    return first_ms, float(np.median(runs_ms))


if __name__ == '__main__':
    main()
