# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of each output of the node beside a frame of the pipeline: the message of one topic.

The cases take turns; the ratio is to the pipeline's time for the tasks of all topics.

Usage: python benchmarks/bench_outputs.py [--model cspnano] [--image street.jpg] [--rounds 60]
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from interleaved import medians_ms
from numpy.typing import NDArray
from std_msgs.msg import Header

from mt_perception.image.read import read_image
from mt_perception.nodes import conversions
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.publishers import Content, Messages
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame, Intrinsics

BAR_MS = 1.0
NEW = ('~/instances/image', '~/obstacles', '~/segmentation/confidence', '~/detections_3d')


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='cspnano')
    parser.add_argument('--image', type=Path)
    parser.add_argument('--rounds', type=int, default=60)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pipeline = Pipeline.load(arguments.model)
    image = picture(arguments.image)
    camera = Intrinsics(500, 500, 320, 240, 640, 480)
    frame = Frame(image, 1, 'camera', camera)
    result = pipeline.run(frame, confidence=True)
    info = conversions.camera_info_of(Header(), camera)
    content = Content(Header(), frame, result, info, PerceptionSettings())
    cases = {
        'pipeline': partial(pipeline.run, frame),
        'pipeline with confidence': partial(pipeline.run, frame, confidence=True),
    }
    cases |= {topic: partial(fill, content) for topic, fill in Messages().fills().items()}
    ms = medians_ms(cases, arguments.rounds)
    assert result.detections is not None
    print(f'640x480, {len(result.detections)} detections; bar of a new output {BAR_MS:g} ms')
    for name in sorted(ms, key=lambda name: ms[name]):
        time_ms = ms[name]
        if name == 'pipeline with confidence':
            name, time_ms = '~/segmentation/confidence (pipeline)', time_ms - ms['pipeline']
        mark = ' *' if name.startswith(NEW) else ''
        print(f'{name:40} {time_ms:7.3f} ms {time_ms / ms["pipeline"]:7.3f}{mark}')


def picture(path: Path | None) -> NDArray[np.uint8]:
    """An image of 640 × 480; by default the photograph of the README's picture."""
    panels = read_image(path or Path(__file__).parents[1] / 'docs' / 'picture.jpg')
    if path is None:
        panels = panels[: panels.shape[0] // 2, : panels.shape[1] // 2]
    return np.asarray(cv2.resize(panels, (640, 480)), np.uint8)


if __name__ == '__main__':
    main()
