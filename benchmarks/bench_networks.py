# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Times of the shipped models and of other networks, from image to result, one thread.

All take turns on the images of a folder, each with its own input size. A ratio compares the median
with that of cspnano and the same tasks.

Usage: python benchmarks/bench_networks.py TEACHERS IMAGES [COUNT]
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

from interleaved import medians_ms

from mt_perception.evaluation.predictor import RunSettings, open_predictor
from mt_perception.execution.options import Options
from mt_perception.resources import find_model
from mt_perception.sources.open import open_source
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, Frame

ALL = (DETECTION, SEGMENTATION, DEPTH)
OURS = ('cspnano', 'cspnano_picodet')
OTHERS = {
    'YOLOX-nano': (DETECTION, 'yolox_nano_416.onnx'),
    'PicoDet-S': (DETECTION, 'picodet_s_416_coco.onnx'),
    'DeepLab v3, 257 px': (SEGMENTATION, 'deeplabv3_257_pascal_float.onnx'),
    'TCMonoDepth': (DEPTH, 'tcmonodepth_tcsmallnet_192x320.onnx'),
}
THREE = ('YOLOX-nano', 'DeepLab v3, 257 px', 'TCMonoDepth')


def main() -> None:
    teachers, folder = map(Path, sys.argv[1:3])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 100
    with open_source(folder) as source:
        frames = list(islice(source, count))
    rows = {
        (name, ','.join(tasks)): case(str(find_model(name)), tasks, frames)
        for tasks in (*((task,) for task in ALL), ALL)
        for name in OURS
    }
    for name, (task, file) in OTHERS.items():
        rows[name, task] = case(f'onnx:{teachers / file}', (task,), frames)
    files = '+'.join(str(teachers / OTHERS[name][1]) for name in THREE)
    rows[' + '.join(THREE), ','.join(ALL)] = case(f'onnx:{files}', ALL, frames)
    ms = medians_ms(rows, len(frames))
    print(f'{len(frames)} images, {processor()}\n')
    print('| tasks | network | ms | ratio |\n|---|---|---|---|')
    for tasks in (*ALL, ','.join(ALL)):
        for (name, served), value in ms.items():
            if served == tasks:
                print(f'| {tasks} | {name} | {value:.1f} | {value / ms[OURS[0], tasks]:.2f} |')


def case(model: str, tasks: tuple[str, ...], frames: list[Frame]) -> Callable[[], object]:
    """A function that processes the next image."""
    predictor = open_predictor(model, RunSettings(Options(), tasks=tasks))
    images = cycle(frames)
    return lambda: predictor.run(Frame(next(images).image))


def processor() -> str:
    """The model of this computer's processor."""
    lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    names = [line.partition(': ')[2] for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()


if __name__ == '__main__':
    main()
