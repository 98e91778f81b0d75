# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Time of the depth filter and of the ground scale a frame, and what the filter does to depth.

Pipelines without, with the filter and with the ground take turns on each frame; a time is the
median difference of post-processing. The height and pitch of the camera are invented, so the
ground says nothing about its accuracy here (benchmarks/depth_scale.py does).

Usage: python benchmarks/bench_depth_filter.py --data ../shared/data [--limit 150]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.depth import errors
from mt_perception.evaluation.metrics.stability import StabilityMetric
from mt_perception.execution.options import Options
from mt_perception.pipeline import Pipeline
from mt_perception.reports import GROUND
from mt_perception.types import DEPTH, SEGMENTATION, Result

BAR_MS, BAR_CHANGE = 0.3, 0.5
SOURCES = ('video/vtest.avi', 'bags/nc_redkitchen_dev_90f')
PLAIN, FILTER, SCALE = range(3)
CASES = (
    Options(),
    Options(depth_filter=True),
    Options(depth_scale=GROUND, camera_height_m=1.4, camera_pitch_deg=20),
)
WARM_UP = 3


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--model', default='cspnano')
    parser.add_argument('--limit', type=int, default=150)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    print(f'bars: filter and ground {BAR_MS:g} ms, change x{BAR_CHANGE:g} at no larger AbsRel')
    for source in SOURCES:
        options, classes = SourceOptions(), ClassMap((), (), read_taxonomy())
        pipelines = [Pipeline.load(arguments.model, case) for case in CASES]
        metrics = [StabilityMetric() for _ in CASES]
        for metric in metrics:
            metric.reset()
        rows: list[Sequence[Result]] = []
        wrong: list[list[float]] = []
        with open_samples(str(arguments.data / source), options, classes) as samples:
            for index, sample in zip(range(arguments.limit), samples, strict=False):
                results = in_turn(pipelines, sample, index)
                for metric, result in zip(metrics, results, strict=True):
                    metric.process(sample, result)
                rows.append(results)
                if sample.truth is not None and sample.truth.depth is not None:
                    wrong.append([abs_rel(result, sample.truth.depth) for result in results])
        change = [float(str(metric.evaluate()['depth_change'])) for metric in metrics]
        print(f'{source}, {len(rows)} frames')
        print_times(rows)
        ratio = change[FILTER] / change[PLAIN]
        print(f'  depth change {change[PLAIN]:.4f} -> {change[FILTER]:.4f} (x{ratio:.2f})')
        if wrong:
            before, after, _ = np.mean(wrong, axis=0)
            print(f'  AbsRel {before:.4f} -> {after:.4f} (x{after / before:.3f})')


def in_turn(pipelines: Sequence[Pipeline], sample: Sample, index: int) -> list[Result]:
    """The results of the cases, of which another one is first on each frame."""
    order = np.roll(np.arange(len(pipelines)), index)
    found = {case: pipelines[case].run(sample.frame, [DEPTH, SEGMENTATION]) for case in order}
    return [found[case] for case in range(len(pipelines))]


def print_times(rows: Sequence[Sequence[Result]]) -> None:
    """Print how much longer post-processing takes with the filter and with the ground."""
    ms = np.array([[one.execution.stage_ms['postprocess'] for one in row] for row in rows])
    added = (ms - ms[:, :1])[WARM_UP:]
    reports = [row[SCALE].execution.depth_scale for row in rows[WARM_UP:]]
    new = np.array([one is not None and one.age_ms == 0 for one in reports])
    scaled = np.array([one is not None and one.source == GROUND for one in reports])
    print(f'  filter {np.median(added[:, FILTER]):.2f} ms')
    for name, frames in (('measured', new), ('only applied', scaled & ~new)):
        if frames.any():
            median = np.median(added[frames, SCALE])
            print(f'  ground {name} {median:.2f} ms ({frames.sum()} frames)')


def abs_rel(result: Result, truth: NDArray[np.float32]) -> float:
    """AbsRel of a frame over the pixels with true depth."""
    assert result.depth is not None
    depth = result.depth.depth
    there = (truth > 0) & np.isfinite(truth) & np.isfinite(depth)
    return errors(depth[there], truth[there])['abs_rel']


if __name__ == '__main__':
    main()
