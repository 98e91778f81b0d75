# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What budgets save on video, and what is lost: against truth, and against running everything.

Every frame goes through a pipeline that runs everything and through one for each budget, in turn,
so that times compare. They are judged twice. Against truth that none of them made (a sensor's
depth, or other people's networks for boxes and labels): the loss is how much worse the budget's
figure is than that of running everything. And against the results of running everything, which
is what a person sees flicker: both jitter, so this never reaches 1.

Usage: python benchmarks/bench_video_budget.py [--model MODEL] [--data ../shared/data]
           [--frames 300] [--compute 0.35 --compute 0.25] [--stale-ms 350] [--tracking]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.pseudo_truth import SURE, pseudo_truth
from mt_perception.evaluation.datasets.taxonomy import DEFAULT_TAXONOMY, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.evaluation.predictor import Predictor, RunSettings, open_predictor
from mt_perception.execution.options import Options
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.resources import find_model
from mt_perception.types import Result

VIDEOS = ('video/vtest.avi', 'bags/nc_redkitchen_dev_90f')
TEACHERS = ('picodet_s_416_coco.onnx', 'deeplabv3_257_pascal_float.onnx')
BAR_COST, BAR_LOSS = 0.35, 0.01

# Figure → where it stands in its metric; whether more of it is better.
FIGURES = {
    'AP50': (DetectionMetric, ('ap50',), True),
    'mIoU': (SegmentationMetric, ('miou',), True),
    'AbsRel': (DepthMetric, ('metric', 'abs_rel'), False),
}


@dataclass
class Tally:
    """What is counted for one pipeline."""

    macs: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    paths: dict[str, int] = field(default_factory=dict)
    ages_ms: list[float] = field(default_factory=list)
    truth: dict[str, object] = field(
        default_factory=lambda: {name: made() for name, (made, _, _) in FIGURES.items()}
    )
    seen: dict[str, object] = field(
        default_factory=lambda: {name: made() for name, (made, _, _) in FIGURES.items()}
    )

    def add(self, sample: Sample, result: Result, seconds: float, full: Sample) -> None:
        run = result.execution
        self.macs.append(run.macs)
        self.seconds.append(seconds)
        self.paths[run.path] = self.paths.get(run.path, 0) + 1
        self.ages_ms.append(float(run.values().get('reuse.age_ms', 0)))
        for metric in self.truth.values():
            metric.process(sample, result)
        for metric in self.seen.values():
            metric.process(full, result)


def figure(metrics: Mapping[str, object], name: str) -> float | None:
    """One figure; None where there was nothing to measure it by."""
    found = metrics[name].evaluate()
    for key in FIGURES[name][1]:
        found = (found or {}).get(key)
    return found


def samples_of(
    path: Path, own: Predictor, teachers: Predictor, frames: int
) -> Iterator[tuple[Sample, Sample]]:
    """Samples with the teachers' truth (but the sensor's depth, where there is one), and plain."""
    classes = own.classes(read_taxonomy(DEFAULT_TAXONOMY))
    with open_samples(str(path), SourceOptions(), classes) as samples:
        for plain in islice(samples, frames):
            truth = pseudo_truth(teachers.run(plain.frame), classes, teachers.name)
            sensed = None if plain.truth is None else plain.truth.depth
            yield replace(plain, truth=replace(truth, depth=sensed)), plain


def run_video(path: Path, arguments: argparse.Namespace) -> None:
    """Run one video and print what came out."""
    model = str(find_model(arguments.model))
    options = Options(score_threshold=0.1 if arguments.tracking else 0.0)
    sure = RunSettings(replace(options, score_threshold=SURE))
    files = '+'.join(str(arguments.data / 'teachers' / name) for name in TEACHERS)
    teachers, own = open_predictor(f'onnx:{files}', sure), open_predictor(model, sure)
    classes = own.classes(read_taxonomy(DEFAULT_TAXONOMY))
    budgets = {'all': Budget()}
    for compute in arguments.compute:
        budgets[f'{compute:g}'] = Budget(compute=compute, max_stale_ms=arguments.stale_ms)
    pipelines = {
        name: Pipeline.load(model, replace(options, tracking=arguments.tracking), budget=budget)
        for name, budget in budgets.items()
    }
    tallies = {name: Tally() for name in pipelines}
    for sample, plain in samples_of(path, own, teachers, arguments.frames):
        reference = None
        for name, pipeline in pipelines.items():
            start = time.perf_counter()
            result = pipeline.run(plain.frame)
            seconds = time.perf_counter() - start
            if reference is None:
                reference = replace(plain, truth=pseudo_truth(result, classes, own.name))
            tallies[name].add(sample, result, seconds, reference)
    report(path.name, tallies)


def report(name: str, tallies: Mapping[str, Tally]) -> None:
    """Print one video's table."""
    full = tallies['all']
    print(
        f'{name}: {len(full.macs)} frames, everything takes {np.median(full.seconds) * 1e3:.1f} ms'
    )
    print('budget   MACs    time    age max  ' + '  '.join(f'{n:>7} loss   seen' for n in FIGURES))
    for budget, tally in tallies.items():
        cost = np.sum(tally.macs) / np.sum(full.macs)
        ratio = np.sum(tally.seconds) / np.sum(full.seconds)
        cells = []
        for key, (_, _, more) in FIGURES.items():
            mine, all_of_it = figure(tally.truth, key), figure(full.truth, key)
            seen = figure(tally.seen, key)
            loss = float('nan')
            if mine is not None and all_of_it:
                loss = (all_of_it - mine if more else mine - all_of_it) / all_of_it
            cells.append(
                f'{mine if mine is not None else float("nan"):7.3f} {loss:+6.1%} {seen or 0:5.3f}'
            )
        print(
            f'{budget:7} {cost:6.3f} {ratio:7.3f} {max(tally.ages_ms):6.0f} ms  '
            + '  '.join(cells)
        )
        print('         ' + '  '.join(f'{p} {n}' for p, n in sorted(tally.paths.items())))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--model', default='cspnano')
    parser.add_argument('--data', type=Path, default=Path('../shared/data'))
    parser.add_argument('--tracking', action='store_true', help='tracks move the boxes')
    parser.add_argument('--frames', type=int, default=300)
    parser.add_argument('--compute', type=float, action='append')
    parser.add_argument('--stale-ms', type=float, default=350.0)
    parser.add_argument('--video', action='append')
    arguments = parser.parse_args()
    arguments.compute = arguments.compute or [BAR_COST, 0.25]
    cv2.setNumThreads(1)
    for video in arguments.video or VIDEOS:
        run_video(arguments.data / video, arguments)
    print(f'bar: MACs ≤ {BAR_COST:g} at a loss ≤ {BAR_LOSS:.0%} for each task')


if __name__ == '__main__':
    main()
