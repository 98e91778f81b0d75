# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How large the reply for a frame is: plain, deflated as gRPC does it, and as robots ask for it.

    python benchmarks/bench_reply.py models/cspnano IMAGES

What the local network makes of the frames stands for what a host would answer.
"""

from __future__ import annotations

import argparse
import itertools
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.execution.frame_run import FrameRun, Runner
from mt_perception.execution.plan import Stage
from mt_perception.offload.depth_codec import decode_depth, encode_depth
from mt_perception.offload.label_codec import decode_labels, encode_labels
from mt_perception.offload.protocol import InferenceRequest, InferenceResponse, serialize_response
from mt_perception.pipeline import Pipeline
from mt_perception.sources import open_source
from mt_perception.types import DEPTH, DETECTION

Tensors = dict[str, NDArray[Any]]
CASES = (
    *((0.0, 0.0, False), (0.35, 0.0, False)),
    *((0.35, precision, compact) for precision in (0.002, 0.01, 0.02, 0.03)
      for compact in (False, True)),
)  # fmt: skip
"""``min_score``, ``precision``, and whether the response has the compact form."""


class Kept:
    """A runner that keeps what heads make."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._inner: Runner = pipeline.runner
        outputs = [task.outputs.values() for task in pipeline.manifest.tasks.values()]
        self._names = {name for names in outputs for name in names}
        self.frames: list[Tensors] = []

    def run(self, stage: Stage, run: FrameRun) -> None:
        self._inner.run(stage, run)
        self.frames.append({n: t.copy() for n, t in run.tensors.items() if n in self._names})


def reply_bytes(
    tensors: Tensors, min_score: float, precision: float, compact: bool, depth: str
) -> list[int]:
    """A reply's size, and deflated."""
    kept = tensors[f'{DETECTION}/scores'][0] >= min_score
    sent = {n: t[:, kept] if n.startswith(DETECTION) else t for n, t in tensors.items()}
    request = InferenceRequest(
        'model', '', 'robot-1', b'', tuple(sent), min_score, precision, compact
    )
    reply = InferenceResponse(sent, {'queue_ms': 1.5, 'compute_ms': 30.5})
    message = serialize_response(request, reply, [depth])
    return [len(message), len(zlib.compress(message, 6))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('model', type=Path)
    parser.add_argument('source')
    parser.add_argument('--frames', type=int, default=20)
    given = parser.parse_args()
    pipeline = Pipeline.load(given.model)
    (depth,) = pipeline.manifest.tasks[DEPTH].outputs.values()
    kept = Kept(pipeline)
    pipeline.runner = kept
    with open_source(given.source, None, None) as frames:
        for frame in itertools.islice(frames, given.frames):
            pipeline.run(frame)
    print(f'{len(kept.frames)} frames; bytes of a reply, mean')
    for case in CASES:
        sizes = [reply_bytes(tensors, *case, depth) for tensors in kept.frames]
        whole, deflated = np.mean(sizes, axis=0)
        name = f'min_score {case[0]:g}, precision {case[1]:g}{", compact" if case[2] else ""}'
        print(f'{name:40} {whole:9.0f}, deflated {deflated:8.0f}')
    for labels in (name for name, value in kept.frames[0].items() if value.dtype == np.uint8):
        maps = [tensors[labels][0] for tensors in kept.frames]
        start = time.perf_counter()
        codes = [encode_labels(value) for value in maps]
        middle = time.perf_counter()
        for code, value in zip(codes, maps, strict=True):
            assert (decode_labels(code, value.shape) == value).all()
        end = time.perf_counter()
        pack_ms, unpack_ms = (t * 1e3 / len(maps) for t in (middle - start, end - middle))
        deflated = np.mean([len(zlib.compress(value.tobytes(), 6)) for value in maps])
        print(
            f'{labels}: {np.mean([len(code) for code in codes]):.0f} bytes (deflated '
            f'{deflated:.0f}), packed in {pack_ms:.1f} ms, unpacked in {unpack_ms:.1f} ms'
        )
    for precision in sorted({precision for _, precision, _ in CASES} - {0.0}):
        maps = [tensors[depth] for tensors in kept.frames]
        start = time.perf_counter()
        codes = [encode_depth(value, precision) for value in maps]
        middle = time.perf_counter()
        worst = [np.abs(decode_depth(c) / v - 1).max() for c, v in zip(codes, maps, strict=True)]
        end = time.perf_counter()
        pack_ms, unpack_ms = (t * 1e3 / len(maps) for t in (middle - start, end - middle))
        print(
            f'depth at {precision:g}: {np.mean([c.data.size for c in codes]):.0f} bytes, worst '
            f'error {max(worst):.5f}, packed in {pack_ms:.1f} ms, unpacked in {unpack_ms:.1f} ms'
        )


if __name__ == '__main__':
    main()
