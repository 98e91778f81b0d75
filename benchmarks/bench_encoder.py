# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of a cut on the robot: the encoder and the codec, as shares of the trunk and the whole.

Energy is measured where the processor's counters can be read, without radio and while waiting.

python benchmarks/bench_encoder.py models/cspnano
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from interleaved import medians_ms
from rapl import joules

from mt_perception.execution.frame_run import run_plan
from mt_perception.model.folder import open_model
from mt_perception.model.sessions import open_session
from mt_perception.offload.payload import pack
from mt_perception.offload.split_model import SplitEncoder
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_plan import full_plan

DEFAULT = Path(__file__).resolve().parent.parent / 'models' / 'cspnano'


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    model = open_model(folder)
    if model.manifest.cut is None:
        print(f'{folder} has no cut')
        return
    robot = SplitEncoder(folder)
    pipeline = Pipeline.load(folder)
    trunk = open_session('trunk', model.contents['trunk'])
    height, width = model.manifest.reference_size
    small = np.random.default_rng(0).integers(0, 256, (1, height // 16, width // 16, 3), np.uint8)
    image = small.repeat(16, axis=1).repeat(16, axis=2)
    middle = robot.codec.rates // 2
    symbols = robot.symbols(image, middle)
    times = medians_ms(
        {
            'trunk': lambda: trunk.run(None, {'image': image}),
            'encoder': lambda: robot.symbols(image, middle),
            'codec': lambda: robot.codec.encode(symbols, middle),
            'payload': lambda: pack(robot.payload(image, middle)),
        },
        rounds=40,
    )
    for name in ('encoder', 'codec', 'payload'):
        print(f'{name}: {times[name]:.2f} ms, {times[name] / times["trunk"]:.3f} of the trunk')
    plan = full_plan(pipeline.manifest.graph, pipeline.manifest.tasks)
    energy = {
        'local network': joules(lambda: run_plan(pipeline.runner, plan, image), 40),
        'encoding for a host': joules(lambda: pack(robot.payload(image, middle)), 40),
    }
    for name, used in energy.items():
        print(f'{name}: ' + ('not measured, no RAPL' if used is None else f'{used:.3f} J a frame'))
    whole = sum(block.macs for block in pipeline.manifest.graph.blocks.values())
    print(f'MACs: {robot.cut.encoder.macs / whole:.3f} of the whole network')
    tensor = 4 * int(np.prod(robot.cut.latent_shape((height, width))))
    features = 4 * 32 * (height // 4) * (width // 4)
    for index, rate in enumerate(robot.cut.rates):
        size = rate.payload_bytes
        if size:
            print(
                f'rate {index}: {size} bytes, 1/{tensor / size:.0f} of the float32 latent, '
                f'1/{features / size:.0f} of s4'
            )


if __name__ == '__main__':
    main()
