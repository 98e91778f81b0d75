# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What deciding costs: every frame runs everything, with and without looking whether it must.

Usage: python benchmarks/bench_gates.py [MODEL]
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from bench_pipeline import smooth_picture
from interleaved import medians_ms

from mt_perception.execution.plan import Plan
from mt_perception.image.pyramid import ImagePyramid
from mt_perception.model.folder import open_model
from mt_perception.model.manifest import Manifest
from mt_perception.model.paths import FULL_PATH
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.planning.path_plan import full_plan
from mt_perception.planning.path_policy import PolicyNet
from mt_perception.planning.planner import Planner
from mt_perception.resources import find_model
from mt_perception.types import Frame

BAR = 1.06


class Asking(Planner):
    """Asks the policy for every frame, and then runs everything all the same."""

    def __init__(self, manifest: Manifest, policy: PolicyNet) -> None:
        super().__init__(manifest, policy)
        self._asked = policy
        self._weights = [1.0] * len(manifest.tasks)

    def plan(self, frame: Frame, image: ImagePyramid, *rest: Any) -> Plan:
        self._asked(image, self._weights, 1.0)
        return super().plan(frame, image, *rest)


class Ungated(Planner):
    """Runs everything, without a look at the frame."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._full = lru_cache(lambda wanted: full_plan(manifest.graph, wanted))

    def plan(self, frame: Frame, image: ImagePyramid, wanted: frozenset[str], *rest: Any) -> Plan:
        return self._full(wanted)


def main() -> None:
    """Print the ratios."""
    cv2.setNumThreads(1)
    model = find_model(sys.argv[1] if len(sys.argv) > 1 else 'cspnano')
    # Two images that have nothing in common, so that nothing is ever given again.
    images = [smooth_picture(480, 640), 255 - smooth_picture(480, 640)]
    loaded = Pipeline.load(model)
    ungated = Pipeline(loaded.manifest, loaded.runner, Ungated(loaded.manifest))
    # One set of sessions for all: where the weights lie makes a difference of its own.
    planned = Pipeline(loaded.manifest, loaded.runner)
    gated = Pipeline(loaded.manifest, loaded.runner)
    gated.budget = Budget(max_stale_ms=1000.0)
    cases = {'ungated': ungated, 'budget 1': planned, 'change detector on': gated}
    work = {name: _runner(pipeline, images) for name, pipeline in cases.items()}
    spec = loaded.manifest.paths.policy
    if spec is not None:
        policy = PolicyNet(open_model(model))
        asked = Pipeline(loaded.manifest, loaded.runner, Asking(loaded.manifest, policy))
        work['policy asked'] = _runner(asked, images)
        both = Pipeline(loaded.manifest, loaded.runner, Asking(loaded.manifest, policy))
        both.budget = Budget(max_stale_ms=1000.0)
        work['all gates on'] = _runner(both, images)
        macs = sum(block.macs for block in loaded.manifest.graph.blocks.values())
        print(f'policy: {spec.block.macs / macs:.2%} of the MACs of {FULL_PATH}')
    ms = medians_ms(work, rounds=100)
    for name, value in ms.items():
        print(f'{name:20} {value:7.2f} ms {value / ms["ungated"]:7.3f}')
    print(f'bar: {BAR}')


def _runner(pipeline: Pipeline, images: list[np.ndarray]):
    turn = 0

    def run() -> None:
        nonlocal turn
        turn += 1
        pipeline.run(Frame(images[turn % 2], time.time_ns()))

    return run


if __name__ == '__main__':
    main()
