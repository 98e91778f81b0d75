# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What ROS costs: the node's latency, ROS in to ROS out, over that of the bare network.

The node is a process of its own. A frame's latency is from handing the image to ROS here to the
arrival of the last of its results here: detections, depth with its camera, segmentation. The bare
network is the same blocks in the same order, without preprocessing, post-processing or ROS. Both
take turns frame by frame, one thread each, so that whatever else this computer does falls on
both; and yet the hand-over between processes suffers most from a busy computer.

Usage: python benchmarks/bench_node_latency.py [--frames 200] [--sizes 320x240 640x480]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np
import rclpy
from processes import perception_process, use_local_ros
from rclpy.executors import SingleThreadedExecutor

from mt_perception.execution.executor import Executor
from mt_perception.execution.frame_run import run_plan
from mt_perception.geometry.camera import typical
from mt_perception.image.letterbox import fit
from mt_perception.model.folder import open_model
from mt_perception.model.sessions import load_sessions
from mt_perception.nodes.frame_publisher import FramePublisher
from mt_perception.nodes.result_collector import ResultCollector
from mt_perception.nodes.round_trip_predictor import SynchronousPlayer
from mt_perception.planning.path_plan import full_plan
from mt_perception.resources import find_model
from mt_perception.types import Frame

ROOT = Path(__file__).resolve().parent.parent

WARM_UP = 20
START_S = 60.0
LOST_S = 5.0
BARS = {'320x240': 1.15, '640x480': 1.07}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--frames', type=int, default=200)
    parser.add_argument('--sizes', nargs='+', default=list(BARS))
    parser.add_argument('--model', default='cspnano')
    arguments = parser.parse_args()
    use_local_ros()
    print('image     bare p50  node p50  node p95   in node   ratio p50  aim')
    for size in arguments.sizes:
        width, height = map(int, size.split('x'))
        bare_ms, node_ms, inside_ms = measure(arguments.model, width, height, arguments.frames)
        ratio = np.median(node_ms) / np.median(bare_ms)
        print(
            f'{size:8} {np.median(bare_ms):7.2f} ms {np.median(node_ms):6.2f} ms '
            f'{np.quantile(node_ms, 0.95):6.2f} ms {np.median(inside_ms):6.2f} ms '
            f'{ratio:10.3f}  {BARS.get(size, "")}'
        )


def measure(
    model: str, width: int, height: int, frames: int
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of each frame: the bare network, the node from outside, the node's own."""
    folder = open_model(find_model(model))
    spec = folder.manifest.input
    size = max(spec.multiple, round(max(width, height) / spec.multiple) * spec.multiple)
    bare = Executor(load_sessions(folder, threads=1).by_block)
    plan = full_plan(folder.manifest.graph, folder.manifest.tasks)
    image = picture(width, height)
    network_image = fit((height, width), size, spec.multiple).network_image(image, spec.pad_value)
    node = perception_process(model=folder.path, input__size=size)
    rclpy.init()
    camera = rclpy.create_node('camera')
    executor = SingleThreadedExecutor()
    executor.add_node(camera)
    labels = folder.manifest.tasks['detection'].labels
    collector = ResultCollector(camera, labels=labels)
    publisher = FramePublisher(camera)
    bare_ms, node_ms, inside_ms = [], [], []
    try:
        if not SynchronousPlayer(executor, publisher, collector).connect(START_S):
            raise SystemExit('the perception node did not answer')
        for i in range(frames + WARM_UP):
            start = time.perf_counter()
            run_plan(bare, plan, network_image)
            spent_ms = (time.perf_counter() - start) * 1e3
            frame = Frame(image, i + 1, 'camera', typical(height, width))
            start_ns = publisher.publish(frame)
            # On two cores a listener that wakes up for the first result delays the arrival of
            # the others; when they arrived is noted by the middleware in any case.
            time.sleep(spent_ms * 2e-3)
            while not collector.is_complete(frame.stamp_ns):
                executor.spin_once(timeout_sec=LOST_S)
                if (time.time_ns() - start_ns) * 1e-9 > LOST_S:
                    break
            record = collector.take(frame.stamp_ns)
            if record is None or i < WARM_UP:
                continue
            bare_ms.append(spent_ms)
            results = [ns for topic, ns in record.received_ns.items() if 'stats' not in topic]
            node_ms.append((max(results) - start_ns) * 1e-6)
            inside_ms.append(float(record.stats['latency_ms.node']))
    finally:
        camera.destroy_node()
        rclpy.try_shutdown()
        node.terminate()
        node.wait()
    return bare_ms, node_ms, inside_ms


def picture(width: int, height: int) -> np.ndarray:
    """A photograph where there is one, else something smooth: noise would be all edges."""
    data = Path(os.environ.get('MT_PERCEPTION_DATA', ROOT.parent / 'shared' / 'data'))
    photographs = sorted((data / 'coco' / 'images').glob('*.jpg'))
    if photographs:
        return cv2.resize(cv2.imread(str(photographs[0])), (width, height))
    coarse = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


if __name__ == '__main__':
    main()
