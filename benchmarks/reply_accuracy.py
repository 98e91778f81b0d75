# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the compression of responses costs in accuracy.

The host's results for the validation parts of a recipe's data, as they are and as robots receive
them with each precision.

    python benchmarks/reply_accuracy.py models/cspnano --data DATA --rate 1
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.execution.frame_run import FrameRun, Runner
from mt_perception.execution.plan import Stage
from mt_perception.model.manifest import Manifest
from mt_perception.offload.protocol import (
    COMPACT_PRECISION,
    InferenceRequest,
    InferenceResponse,
    parse_response,
    serialize_response,
)
from mt_perception.offload.split_model import SplitModelRunner
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.model_metrics import measure_metrics
from mt_perception.training.recipe import read_recipe
from mt_perception.types import DEPTH

PRECISIONS = (0.0, 0.002, 0.01, 0.02, 0.03, 0.05)
FIGURES = {'detection': 'ap', 'segmentation': 'miou', 'depth': 'abs_rel'}
ROOT = Path(__file__).resolve().parent.parent


class Responses:
    """A runner whose results went through a response of a precision.

    Attributes:
        precision: Of the responses.
    """

    def __init__(self, inner: Runner, manifest: Manifest) -> None:
        self.precision = 0.0
        self._inner = inner
        self._depth = [
            tensor
            for task in manifest.tasks.values()
            if task.kind == DEPTH
            for tensor in task.outputs.values()
        ]
        self._results: dict[tuple[int, tuple[str, ...]], dict[str, NDArray[Any]]] = {}

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run a frame once, and code its results each time."""
        names = tuple(sorted(run.plan.results))
        key = zlib.crc32(run.image.tobytes()), names
        if key not in self._results:
            self._inner.run(stage, run)
            self._results[key] = {name: np.array(run.tensors[name]) for name in names}
        compact = self.precision >= COMPACT_PRECISION
        request = InferenceRequest(
            'model', '', '1', b'', names, precision=self.precision, compact=compact
        )
        reply = InferenceResponse(self._results[key], {'queue_ms': 1.0, 'compute_ms': 40.0})
        message = serialize_response(request, reply, self._depth)
        run.tensors |= parse_response(message, request).tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', type=Path)
    parser.add_argument('--data', type=Path, default=ROOT.parent / 'shared' / 'data')
    parser.add_argument('--recipe', type=Path, default=ROOT / 'recipes' / 'cspnano.yaml')
    parser.add_argument('--rate', type=int, default=1)
    given = parser.parse_args()
    manifest = Pipeline.load(given.model).manifest
    runner = Responses(SplitModelRunner(given.model, given.rate), manifest)
    print('precision  AP      mIoU    AbsRel')
    for runner.precision in PRECISIONS:
        found = measure_metrics(Pipeline(manifest, runner), given.data, read_recipe(given.recipe))
        row = '  '.join(f'{found[figure]:.4f}' for figure in FIGURES.values())
        print(f'{runner.precision:9g}  {row}', flush=True)


if __name__ == '__main__':
    main()
