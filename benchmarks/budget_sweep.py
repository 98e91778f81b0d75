# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a budget costs in accuracy: the policy against random and fixed paths of the same cost.

Every validation image runs through every path once, in turns; then each rule picks from those
results. Prints accuracy, MACs and time over the budget, and what easy and hard images cost.

python benchmarks/budget_sweep.py models/cspnano --data ../shared/data
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.model.folder import ModelFolder, open_model
from mt_perception.planning.path_policy import PolicyNet
from mt_perception.training.gating.path_losses import distances, path_pipelines
from mt_perception.training.recipe import read_recipe
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, Result

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SEEDS = 10
TASKS = (DETECTION, SEGMENTATION, DEPTH)


@dataclass(frozen=True)
class Seen:
    """One image: what every path cost there, and what the policy says."""

    group: str
    macs: NDArray[np.float64]  # (paths,)
    ms: NDArray[np.float64]  # (paths,)
    policy_ms: float
    scores: NDArray[np.float32]  # (budgets, paths)
    objects: float
    far: NDArray[np.float64]  # (tasks,) the cheapest path's results from the full one's


class Judge:
    """Knows every image through every path, and so the accuracy of any choice among them."""

    def __init__(self, paths: int) -> None:
        self.paths = paths
        self.photographs: list[int] = []
        self.detection, self.segmentation = DetectionMetric(), SegmentationMetric()
        self.scenes: dict[str, tuple[DepthMetric, list[int]]] = {}

    def add(self, index: int, group: str, sample: Sample, results: Sequence[Result]) -> None:
        """Add an image; its truth says which tasks it judges."""
        truth = sample.truth
        if truth is not None and truth.depth is not None:
            metric, images = self.scenes.setdefault(group, (DepthMetric(), []))
            images.append(index)
            for result in results:
                metric.process(sample, result)
            return
        self.photographs.append(index)
        for result in results:
            self.detection.process(sample, result)
            self.segmentation.process(sample, result)

    def accuracy(self, chosen: NDArray[np.intp]) -> dict[str, NDArray[np.float64]]:
        """Give AP, mIoU and the mean over scenes of AbsRel of choices (B, N) of paths."""
        weights = self._weights(chosen, self.photographs)
        errors = [
            metric.resample(self._weights(chosen, images))['metric.abs_rel']
            for metric, images in self.scenes.values()
        ]
        return {
            DETECTION: self.detection.resample(weights)['ap'],
            SEGMENTATION: self.segmentation.resample(weights)['miou'],
            DEPTH: np.mean(errors, axis=0),
        }

    def _weights(self, chosen: NDArray[np.intp], images: Sequence[int]) -> NDArray[np.float64]:
        # Each path's view of an image is a frame of the metric; the chosen one is seen once.
        return np.eye(self.paths)[chosen[:, images]].reshape(len(chosen), -1)


def look(model: ModelFolder, data: Path, recipe_path: Path) -> tuple[list[Seen], Judge]:
    """Run every validation image through every path."""
    recipe, manifest = read_recipe(recipe_path), model.manifest
    pipelines, policy = path_pipelines(model.path), PolicyNet(model)
    spec = manifest.paths.policy
    assert spec is not None
    wanted, fed = zip(*spec.calibration, strict=True)
    budgets = [float(np.interp(b, wanted, fed)) for b in BUDGETS]
    labels = [manifest.tasks[task].labels for task in (DETECTION, SEGMENTATION)]
    sources = [((data / recipe.detection_labels).parent, 'val2017', None, labels)]
    scenes = [s for s in recipe.sets if s.kind == 'rgbd']
    sources += [(data / s.folder, 'held_out', s.focal_px, [labels[0], ()]) for s in scenes]
    seen: list[Seen] = []
    judge = Judge(len(pipelines))
    for folder, split, focal, names in sources:
        classes = ClassMap(*names, read_taxonomy())
        options = SourceOptions(split=split, camera=focal)
        with open_samples(str(folder), options, classes) as samples:
            for sample in samples:
                results = [p.run(sample.frame, TASKS) for p in pipelines]
                start = time.perf_counter()
                scores = [policy(sample.frame.image, [1.0] * 3, b) for b in budgets]
                ms = (time.perf_counter() - start) * 1e3 / len(budgets)
                judge.add(len(seen), folder.name, sample, results)
                cost = [r.execution.macs for r in results]
                times = np.array([_net_ms(r) for r in results])
                objects = _objects(sample, results[0])
                far = distances(results)[:, -1]
                seen.append(
                    Seen(folder.name, np.array(cost), times, ms, np.stack(scores), objects, far)
                )
    return seen, judge


def _net_ms(result: Result) -> float:
    """Give the time without post-processing, which is longer here than on a robot.

    Average precision wants detections of every score.
    """
    latency = result.execution.stage_ms
    return latency['total'] - latency['postprocess']


def losses(
    found: Mapping[str, NDArray[np.float64]], full: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Give the mean relative loss over the tasks in per cent, positive where it is worse, (B,)."""
    signs = {DETECTION: -1, SEGMENTATION: -1, DEPTH: 1}
    each = [sign * (found[task] / full[task] - 1) for task, sign in signs.items()]
    return 100 * np.asarray(np.mean(each, axis=0))


def shuffled(seen: Sequence[Seen], chosen: NDArray[np.intp], within: bool) -> NDArray[np.intp]:
    """Give the same paths to other images, of all data or of the same data set, (SEEDS, N)."""
    groups = np.array([s.group if within else '' for s in seen])
    rows = np.tile(chosen, (SEEDS, 1))
    for seed, row in enumerate(rows):
        rng = np.random.default_rng(seed)
        for group in set(groups.tolist()):
            index = np.flatnonzero(groups == group)
            row[index] = row[rng.permutation(index)]
    return rows


def _objects(sample: Sample, result: Result) -> float:
    """Give how many objects there are, labelled or, without labels, seen by the full path."""
    truth = sample.truth
    if truth is not None and truth.objects is not None:
        return float(len(truth.objects))
    found = result.detections
    return 0.0 if found is None else float((found.scores > 0.3).sum())


@click.command()
@click.argument('folder', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--recipe', type=click.Path(exists=True, path_type=Path))
@click.option('--out', type=click.Path(path_type=Path), help='CSV file of the curve.')
def main(folder: Path, data: Path | None, recipe: Path | None, out: Path | None) -> None:
    """Sweep the budget of the model in FOLDER over the validation images."""
    model = open_model(folder)
    spec = model.manifest.paths.policy
    assert spec is not None, 'the model has no policy'
    policy_macs = spec.block.macs
    data = data or ROOT.parent / 'shared' / 'data'
    seen, judge = look(model, data, recipe or ROOT / 'recipes' / 'cspnano.yaml')
    names = [path.name for path in model.manifest.paths.choices]
    macs, ms = np.stack([s.macs for s in seen]), np.stack([s.ms for s in seen])
    scores = np.stack([s.scores for s in seen], axis=1)  # (budgets, N, paths)
    chosen = np.where(np.array(BUDGETS)[:, None] < 1, scores.argmax(axis=2), 0)
    every = np.arange(len(seen))
    full = judge.accuracy(np.zeros((1, len(seen)), np.intp))
    rows: list[dict[str, object]] = []

    def add(rule: str, budget: object, choice: NDArray[np.intp], asked: bool) -> None:
        found = judge.accuracy(choice)
        worse = losses(found, full)
        extra = asked * policy_macs
        spent = ((macs[every, choice[0]] + extra) / macs[:, 0]).mean()
        slow = ms[every, choice[0]].sum() + asked * sum(s.policy_ms for s in seen)
        rows.append(
            {
                'rule': rule,
                'budget': budget,
                'MACs': f'{spent:.3f}',
                'time': f'{slow / ms[:, 0].sum():.3f}',
                **{task: f'{values.mean():.4f}' for task, values in found.items()},
                'loss %': f'{worse.mean():.2f} ± {worse.std():.2f}',
                'paths': ' '.join(f'{n}:{(choice[0] == i).sum()}' for i, n in enumerate(names)),
            }
        )

    for index, name in enumerate(names):
        add('fixed', name, np.full((1, len(seen)), index), asked=False)
    for budget, choice in zip(BUDGETS, chosen, strict=True):
        add('policy', budget, choice[None], asked=budget < 1)
        add('random', budget, shuffled(seen, choice, within=False), asked=False)
        add('random in its set', budget, shuffled(seen, choice, within=True), asked=False)
    _print(rows)
    _print_hardness(seen, macs[every, chosen] / macs[:, 0])
    share = (policy_macs / macs[:, 0]).mean()
    Console().print(f'policy: {share:.4f} of the MACs (bar 0.03)')
    if out is not None:
        with out.open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def _print(rows: Sequence[Mapping[str, object]]) -> None:
    table = Table(*rows[0])
    for values in rows:
        table.add_row(*(str(value) for value in values.values()))
    Console(width=150).print(table)


def _print_hardness(seen: Sequence[Seen], cost: NDArray[np.float64]) -> None:
    """Compare the easiest third of the images with the hardest, by two measures.

    An image is easy if the cheapest path says nearly the same there as the full one, all tasks
    alike; or if there are few objects.
    """
    far = np.stack([s.far for s in seen])
    measures = {
        'cheapest path near / far': (far / far.mean(axis=0)).mean(axis=1),
        'few / many objects': np.array([s.objects for s in seen]),
    }
    for name, hard in measures.items():
        low, high = np.quantile(hard, (1 / 3, 2 / 3))
        ratios = cost[:, hard <= low].mean(axis=1) / cost[:, hard >= high].mean(axis=1)
        told = '  '.join(f'{b}: {r:.3f}' for b, r in zip(BUDGETS, ratios, strict=True))
        Console(width=150).print(f'MACs of easy / hard ({name}), by budget, bar 0.80:  {told}')


if __name__ == '__main__':
    main()
