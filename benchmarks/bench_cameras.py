# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of several cameras in one process: memory, the share of each, and latency.

A process for one camera and one for several run one after another; each camera publishes at the
same rate, evenly shifted. Several cameras publish at most at the rate for which the latency of one
camera (95th percentile) leaves a quarter of the time free, so that other programs do not decide;
with ``--fixed-rate`` they publish at the given rate even if the computer cannot keep up, and newer
images replace waiting ones. A camera's share is its results over the mean of all. The latency of a
frame is from its arrival to its last output, as the node measures it. The bar for its 95th
percentile is the sum of one run of every camera (median time in the pipeline and in publishing).

Usage: python benchmarks/bench_cameras.py [--cameras 4] [--rate 15] [--seconds 20] [--size 0]
           [--fixed-rate]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import rclpy
from bench_node_latency import picture
from processes import perception_process, resident_bytes, use_local_ros
from rclpy.executors import SingleThreadedExecutor

from mt_perception.geometry.camera import typical
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.result_collector import CollectedFrame, ResultCollector
from mt_perception.nodes.round_trip_predictor import SynchronousPlayer
from mt_perception.types import Frame

START_S = 60.0
SETTLE_S = 2.0
BUSY = 0.75
MEMORY_BAR, SHARE_BAR, LATENCY_BAR = 1.3, 0.9, 1.0


class Camera:
    """A camera and the results for its frames.

    Args:
        name: Its namespace.
        size: (height, width) of its images.
    """

    def __init__(self, name: str, size: tuple[int, int]) -> None:
        self.node = rclpy.create_node('camera', namespace=name)
        self.publisher = FramePublisher(self.node)
        self.collector = ResultCollector(self.node, perception=f'/{name}/perception')
        self._frame = Frame(picture(size[1], size[0]), 1, 'camera', typical(*size))
        self.sent = 0
        self.results: list[CollectedFrame] = []

    def send(self) -> None:
        """Publish the next frame."""
        self.sent += 1
        self.publisher.publish(self._frame, stamp_ns=self.sent)

    def collect(self) -> None:
        """Take the complete results."""
        self.results += [self.collector.take(stamp) for stamp in self.collector.complete]

    def values_ms(self, key: str) -> list[float]:
        """One time of every result."""
        return [float(found.stats[f'latency_ms.{key}']) for found in self.results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--cameras', type=int, default=4)
    parser.add_argument('--rate', type=float, default=15.0)
    parser.add_argument('--seconds', type=float, default=20.0)
    parser.add_argument('--size', type=int, default=0, help='long side of the network input')
    parser.add_argument('--fixed-rate', action='store_true')
    parser.add_argument('--model', default='cspnano')
    arguments = parser.parse_args()
    use_local_ros()
    rclpy.init()
    found = {}
    rate_hz = arguments.rate
    for count in (1, arguments.cameras):
        found[count] = memory_mb, cameras = measure(
            arguments.model, count, rate_hz, arguments.seconds, arguments.size
        )
        print(f'{count} camera(s) at {rate_hz:.1f} Hz: {memory_mb:.0f} MB')
        if count == 1 and not arguments.fixed_rate:
            p95_s = np.quantile(cameras[0].values_ms('node'), 0.95) * 1e-3
            rate_hz = min(rate_hz, BUSY / (arguments.cameras * p95_s))
        for index, camera in enumerate(cameras):
            latency_ms = np.quantile(camera.values_ms('node'), (0.5, 0.95))
            print(
                f'  camera {index}: {len(camera.results)} of {camera.sent} frames, latency p50 '
                f'{latency_ms[0]:.1f} ms, p95 {latency_ms[1]:.1f} ms'
            )
    rclpy.try_shutdown()
    (one_mb, single), (all_mb, cameras) = found[1], found[arguments.cameras]
    counts = [len(camera.results) for camera in cameras]
    publishing_ms = np.median(
        np.subtract(single[0].values_ms('node'), single[0].values_ms('total'))
    )
    runs_ms = sum(np.median(camera.values_ms('total')) + publishing_ms for camera in cameras)
    p95_ms = max(np.quantile(camera.values_ms('node'), 0.95) for camera in cameras)
    print(f'memory / one camera    {all_mb / one_mb:.2f}  (bar {MEMORY_BAR})')
    print(f'smallest share         {min(counts) / np.mean(counts):.2f}  (bar {SHARE_BAR})')
    print(f'p95 / sum of the runs  {p95_ms / runs_ms:.2f}  (bar {LATENCY_BAR})')


def measure(
    model: str, count: int, rate_hz: float, seconds: float, size: int
) -> tuple[float, list[Camera]]:
    """Resident memory in MB of a process with ``count`` cameras, and the cameras."""
    names = [f'camera{index}' for index in range(count)]
    process = perception_process(model=model, cameras=f'[{", ".join(names)}]', input__size=size)
    executor = SingleThreadedExecutor()
    cameras = [Camera(name, (480, 640)) for name in names]
    try:
        for camera in cameras:
            executor.add_node(camera.node)
        for camera in cameras:
            if not SynchronousPlayer(executor, camera.publisher, camera.collector).connect(
                START_S
            ):
                raise SystemExit('the perception process did not answer')
        begin_s = time.monotonic()
        step = 0
        while (now_s := time.monotonic() - begin_s) < seconds + SETTLE_S:
            if now_s < seconds and now_s >= step / (rate_hz * count):
                cameras[step % count].send()
                step += 1
            executor.spin_once(timeout_sec=0.002)
            for camera in cameras:
                camera.collect()
        return resident_bytes(process.pid) / 1e6, cameras
    finally:
        executor.shutdown()
        for camera in cameras:
            camera.node.destroy_node()
        process.terminate()
        process.wait()


if __name__ == '__main__':
    main()
