# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MT2ST against joint training, and the joint model against three single-task ones.

A reduced set-up (recipes/mt2st.yaml, 96x128), three seeds, about half an hour on one core;
finished runs are reused. The joint baseline trains every task and the trunk for 120 steps.
Training compute is counted for each step (forward, backward, teachers), without cached predictions
of teachers, which are the same for all. Prints two tables, mean ± standard deviation:

1. for each task, MT2ST's training MACs when its metric first reaches the baseline's last value, as
   a share of the baseline's MACs when it first reached that value; the total MACs of both; and the
   difference of the last metrics in points.
2. Δ_MTL (arXiv 1904.08918, equation 4) of the joint baseline against three single-task networks of
   the same trunk: with the same number of steps each, and with the same training MACs in total.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.network.multitask import TASKS, Multitask
from mt_perception.training.data import recipe_sets
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.export.model_metrics import EVALUATION_OPTIONS
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.export.write_model import ModelCard
from mt_perception.training.loop import Validate, train
from mt_perception.training.recipe import Recipe, read_recipe
from mt_perception.training.schedules.mt2st import TaskSchedule
from mt_perception.training.structure.structure import single_task

ROOT = Path(__file__).resolve().parent.parent
FIGURE = {'detection': 'ap', 'segmentation': 'miou', 'depth': 'abs_rel'}
# Smallest size of the pipeline; training has smaller images.
_VALIDATION_SIZE = 160
SIGN = {'detection': 1.0, 'segmentation': 1.0, 'depth': -1.0}


@dataclass
class Validation:
    """The validation images, read once: COCO for two tasks, held-out frames for depth."""

    data: Path
    recipe: Recipe
    classes: ClassMap
    photographs: list[Sample] = field(default_factory=list)
    frames: dict[str, list[Sample]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        truth = ClassMap(self.classes.detection, self.classes.segmentation, read_taxonomy())
        depth_only = ClassMap((), (), read_taxonomy())
        coco = str((self.data / self.recipe.detection_labels).parent)
        with open_samples(coco, SourceOptions(split='val2017'), truth) as source:
            self.photographs = list(source)
        for spec in self.recipe.sets:
            if spec.kind == 'rgbd':
                options = SourceOptions(split='held_out', camera=spec.focal_px)
                folder = str(self.data / spec.folder)
                with open_samples(folder, options, depth_only) as source:
                    self.frames[spec.name] = list(source)

    def of(self, tasks: Sequence[str]) -> Validate:
        """Return a function that measures a network's metrics of some tasks."""
        return lambda network: self._measure(network.eval(), tasks)

    def _measure(self, network: Multitask, tasks: Sequence[str]) -> Mapping[str, float]:
        labels = (self.classes.detection, self.classes.segmentation)
        pipeline = torch_pipeline(network, ModelCard('net', 'none', 'none', '', *labels))
        pipeline.options = replace(EVALUATION_OPTIONS, size=_VALIDATION_SIZE)
        figures = {}
        metrics = {'detection': DetectionMetric(), 'segmentation': SegmentationMetric()}
        for task in (task for task in tasks if task in metrics):
            metric = metrics[task]
            for sample in self.photographs:
                metric.process(sample, pipeline.run(sample.frame, (task,)))
            figures[FIGURE[task]] = float(metric.evaluate()[FIGURE[task]])
        if 'depth' in tasks:
            errors = []
            for frames in self.frames.values():
                depth = DepthMetric()
                for sample in frames:
                    depth.process(sample, pipeline.run(sample.frame, ('depth',)))
                errors.append(depth.evaluate()['metric']['abs_rel'])
            figures['abs_rel'] = statistics.mean(errors)
        return figures


@dataclass(frozen=True)
class Bench:
    """What every net of a seed has in common."""

    recipe: Recipe
    sets: Sequence[SampleSet]
    validation: Validation
    out: Path

    def run(
        self, name: str, recipe: Recipe, every: int | None, tasks: Sequence[str] = TASKS
    ) -> list[dict[str, float]]:
        """Train a network, or resume; return its metrics with the compute so far, in order."""
        path = self.out / f'{name}.json'
        if path.exists():
            found: list[dict[str, float]] = json.loads(path.read_text(encoding='utf-8'))
            return found
        wanted = replace(recipe, validate_every=every or recipe.steps, seed=self.recipe.seed)
        folder, curve_path = self.out / name, self.out / f'{name}.jsonl'
        labels = (self.validation.classes.detection, self.validation.classes.segmentation)
        weights = self.validation.data / recipe.initial_weights
        for now in train(wanted, self.sets, labels, weights, folder, self.validation.of(tasks)):
            if now.metrics is not None:
                row = {'step': now.step, 'gmacs': now.spent_gmacs, **now.metrics}
                print(self.out.name, name, row, flush=True)
                with curve_path.open('a', encoding='utf-8') as file:
                    file.write(json.dumps(row) + '\n')
        rows = {}
        for line in curve_path.read_text(encoding='utf-8').splitlines():
            row = json.loads(line)
            rows[row['step']] = row
        curve = [rows[step] for step in sorted(rows)]
        path.write_text(json.dumps(curve), encoding='utf-8')
        return curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get('MT_PERCEPTION_DATA', str(ROOT.parent / 'shared' / 'data'))
    parser.add_argument('--data', type=Path, default=Path(data))
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--cache', type=Path, help="the teachers' predictions; default: in --out")
    parser.add_argument('--seeds', default='1,2,3', help='separated by commas')
    parser.add_argument('--steps', type=int, default=120, help='of the joint baseline')
    parser.add_argument('--parts', default='mt2st,macs,steps', help='what to do, in order')
    parser.add_argument('--table', action='store_true', help='only print what is there')
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(',')]
    if not args.table:
        recipe = read_recipe(ROOT / 'recipes' / 'mt2st.yaml')
        classes = recipe_sets.network_classes(recipe, args.data)
        cache = args.cache or args.out / 'cache'
        for _ in recipe_sets.write_pseudo_labels(recipe, args.data, classes, cache):
            pass
        sets = recipe_sets.read_sets(recipe, args.data, classes, cache)
        validation = Validation(args.data, recipe, classes)
        for part in args.parts.split(','):
            for seed in seeds:
                folder = args.out / f'seed{seed}'
                folder.mkdir(parents=True, exist_ok=True)
                bench = Bench(replace(recipe, seed=seed), sets, validation, folder)
                {'mt2st': first, 'macs': equal_macs, 'steps': equal_steps}[part](bench, args.steps)
    print(tables(args.out, seeds))


def joint(recipe: Recipe, steps: int) -> Recipe:
    """Give the baseline: the first phase without MT2ST's controls, for all steps."""
    phase = replace(recipe.phases[0], steps=steps, mt2st=TaskSchedule())
    return replace(recipe, phases=(phase,))


def first(bench: Bench, steps: int) -> None:
    """Train the joint baseline, and by MT2ST."""
    every = bench.recipe.validate_every
    bench.run('joint', joint(bench.recipe, steps), every)
    bench.run('mt2st', bench.recipe, every)


def equal_steps(bench: Bench, steps: int) -> None:
    """Train single-task nets for as many steps as the joint one."""
    for task in TASKS:
        bench.run(f'steps_{task}', single_task(joint(bench.recipe, steps), task), None, (task,))


def equal_macs(bench: Bench, steps: int) -> None:
    """Train three single-task nets for as many MACs, together, as the joint one.

    What a step of each costs is measured on one step; each net gets the same number of steps.
    """
    budget = bench.run('joint', joint(bench.recipe, steps), bench.recipe.validate_every)[-1]
    labels = (bench.validation.classes.detection, bench.validation.classes.segmentation)
    cost = 0.0
    for task in TASKS:
        recipe = single_task(joint(bench.recipe, steps), task)
        weights = bench.validation.data / recipe.initial_weights
        probe = bench.out / f'probe_{task}'
        for now in train(recipe, bench.sets, labels, weights, probe):
            cost += now.gmacs
            break
    alike = max(1, int(budget['gmacs'] / cost))
    for task in TASKS:
        bench.run(f'macs_{task}', single_task(joint(bench.recipe, alike), task), None, (task,))


def tables(out: Path, seeds: Sequence[int]) -> str:
    """Give both tables of what is there."""
    runs: list[dict[str, list[dict[str, float]]]] = [
        {
            p.stem: json.loads(p.read_text(encoding='utf-8'))
            for p in (out / f'seed{s}').glob('*.json')
        }
        for s in seeds
    ]
    lines = ['| task | joint, last | MT2ST, last | difference, points | MACs to reach | in all |',
             '|---|---|---|---|---|---|']  # fmt: skip
    pairs = [found for found in runs if {'joint', 'mt2st'} <= found.keys()]
    for task in TASKS:
        rows = [compare(found['joint'], found['mt2st'], task) for found in pairs]
        lines.append(_row(task, rows, ('joint', 'mt2st', 'points', 'reached', 'all')))
    lines += ['', '| single-task nets with | detection % | segmentation % | depth % | Δ_MTL % |',
              '|---|---|---|---|---|']  # fmt: skip
    for budget, name in (('macs', 'the same MACs in all'), ('steps', 'the same steps each')):
        wanted = {'joint', *(f'{budget}_{task}' for task in TASKS)}
        rows = [delta(found, budget) for found in runs if wanted <= found.keys()]
        lines.append(_row(name, rows, (*TASKS, 'delta')))
    return '\n'.join(lines)


def compare(
    base: Sequence[Mapping[str, float]], ours: Sequence[Mapping[str, float]], task: str
) -> dict[str, Any]:
    """Compare two curves of one task."""
    name, sign = FIGURE[task], SIGN[task]
    target = sign * base[-1][name]
    spent = [
        next((row['gmacs'] for row in curve if sign * row[name] >= target), None)
        for curve in (base, ours)
    ]
    return {
        'joint': base[-1][name],
        'mt2st': ours[-1][name],
        'points': 100 * sign * (ours[-1][name] - base[-1][name]),
        'reached': None if spent[1] is None else spent[1] / (spent[0] or base[-1]['gmacs']),
        'all': ours[-1]['gmacs'] / base[-1]['gmacs'],
    }


def delta(found: Mapping[str, Sequence[Mapping[str, float]]], budget: str) -> dict[str, Any]:
    """Give the joint model's relative change for each task, and their mean, in per cent."""
    changes = {}
    for task, name in FIGURE.items():
        single = found[f'{budget}_{task}'][-1][name]
        changes[task] = 100 * SIGN[task] * (found['joint'][-1][name] - single) / single
    return {**changes, 'delta': statistics.mean(changes.values())}


def _row(name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    cells = []
    for column in columns:
        values = [row[column] for row in rows if row[column] is not None]
        spread = f' ± {statistics.stdev(values):.3f}' if len(values) > 1 else ''
        missed = f' ({len(values)} of {len(rows)})' if len(values) < len(rows) else ''
        cells.append(f'{statistics.mean(values):.3f}{spread}{missed}' if values else 'never')
    return f'| {name} | ' + ' | '.join(cells) + ' |'


if __name__ == '__main__':
    main()
