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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.evaluation.opening import SourceOptions, open_samples
from mt_perception.evaluation.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.truth import Sample
from mt_perception.graph.paths import NetPath
from mt_perception.pipeline import Pipeline
from mt_perception.runtime.executor import Executor
from mt_perception.runtime.model_folder import ModelFolder, open_model
from mt_perception.runtime.policy_net import PolicyNet
from mt_perception.runtime.sessions import load_sessions
from mt_perception.training.figures import JUDGED
from mt_perception.training.recipe import read_recipe
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, Result

ROOT = Path(__file__).resolve().parent.parent
BUDGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SEEDS = 5
TASKS = (DETECTION, SEGMENTATION, DEPTH)


@dataclass(frozen=True)
class Seen:
    """One image with what every path made of it."""

    group: str
    sample: Sample
    results: tuple[Result, ...]
    macs: tuple[int, ...]
    policy_ms: float
    scores: NDArray[np.float32]  # (budgets, paths)


class _AsPath:
    """Runs a plan of the full network with the variants of a path."""

    def __init__(self, executor: Executor, path: NetPath) -> None:
        self.executor = executor
        self.by_original = {block.stands_for: block for block in path.variants}

    def run(self, plan, image):  # type: ignore[no-untyped-def]
        """Run the plan's blocks, each by what stands in for it."""
        blocks = tuple(self.by_original.get(block.name, block) for block in plan.blocks)
        outcome = self.executor.run(replace(plan, blocks=blocks), image)
        names = {block.name: block.stands_for or block.name for block in blocks}
        latency = {names[name]: ms for name, ms in outcome.latency_ms.items()}
        return replace(outcome, latency_ms=latency)


def open_paths(model: ModelFolder) -> list[Pipeline]:
    """Open one pipeline for each path, at its own size."""
    executor = Executor(load_sessions(model).by_block)
    spec = model.manifest.input
    pipelines = []
    for path in model.manifest.paths.choices:
        size = round(spec.size * path.scale / spec.multiple) * spec.multiple
        options = replace(JUDGED, size=size)
        pipelines.append(Pipeline(model.manifest, _AsPath(executor, path), options=options))
    return pipelines


def look(model: ModelFolder, data: Path, recipe_path: Path) -> Iterator[Seen]:
    """Run every validation image through every path."""
    recipe, manifest = read_recipe(recipe_path), model.manifest
    pipelines, policy = open_paths(model), PolicyNet(model)
    spec = manifest.paths.policy
    assert spec is not None
    wanted, fed = zip(*spec.calibration, strict=True)
    budgets = [float(np.interp(b, wanted, fed)) for b in BUDGETS]
    labels = [manifest.tasks[task].labels for task in (DETECTION, SEGMENTATION)]
    sources = [((data / recipe.detection_labels).parent, 'val2017', None, labels)]
    scenes = [s for s in recipe.sets if s.kind == 'rgbd']
    sources += [(data / s.folder, 'held_out', s.focal_px, [labels[0], ()]) for s in scenes]
    macs = [_macs(model, path) for path in manifest.paths.choices]
    for folder, split, focal, names in sources:
        classes = ClassMap(*names, read_taxonomy())
        options = SourceOptions(split=split, camera=focal)
        with open_samples(str(folder), options, classes) as samples:
            for sample in samples:
                results = tuple(p.run(sample.frame, TASKS) for p in pipelines)
                start = time.perf_counter()
                scores = np.stack([policy(sample.frame.image, [1.0] * 3, b) for b in budgets])
                ms = (time.perf_counter() - start) * 1e3 / len(budgets)
                cost = tuple(
                    manifest.macs_at(m, r.execution.network_size)
                    for m, r in zip(macs, results, strict=True)
                )
                yield Seen(folder.name, sample, results, cost, ms, scores)


def _macs(model: ModelFolder, path: NetPath) -> int:
    blocks = (*model.manifest.graph.blocks.values(), *path.variants)
    return sum({b.stands_for or b.name: b.macs for b in blocks}.values())


def accuracy(seen: Sequence[Seen], chosen: Sequence[int]) -> dict[str, float]:
    """Give AP, mIoU and the mean over scenes of AbsRel for a choice of paths."""
    detection, segmentation = DetectionMetric(), SegmentationMetric()
    depths: dict[str, DepthMetric] = {}
    for image, path in zip(seen, chosen, strict=True):
        result = image.results[path]
        if image.group == seen[0].group:
            detection.process(image.sample, result)
            segmentation.process(image.sample, result)
        else:
            depths.setdefault(image.group, DepthMetric()).process(image.sample, result)
    errors = [float(d.evaluate()['metric']['abs_rel']) for d in depths.values()]
    return {
        DETECTION: float(detection.evaluate()['ap']),
        SEGMENTATION: float(segmentation.evaluate()['miou']),
        DEPTH: float(np.mean(errors)),
    }


def loss(found: Mapping[str, float], full: Mapping[str, float]) -> float:
    """Give the mean relative loss over the tasks in per cent, positive where it is worse."""
    signs = {DETECTION: -1, SEGMENTATION: -1, DEPTH: 1}
    return 100 * float(np.mean([s * (found[t] / full[t] - 1) for t, s in signs.items()]))


def spent(seen: Sequence[Seen], chosen: Sequence[int], policy_macs: int) -> float:
    """Give the mean cost over that of the full path, the policy's own included."""
    return float(
        np.mean([(s.macs[c] + policy_macs) / s.macs[0] for s, c in zip(seen, chosen, strict=True)])
    )


def slower(seen: Sequence[Seen], chosen: Sequence[int], policy: bool = True) -> float:
    """Give the time over that of the full path, preprocessing to post-processing."""
    total = sum(
        s.results[c].execution.latency_ms['total'] + policy * s.policy_ms
        for s, c in zip(seen, chosen, strict=True)
    )
    return total / sum(s.results[0].execution.latency_ms['total'] for s in seen)


def shuffled(seen: Sequence[Seen], chosen: Sequence[int], seed: int, within: bool) -> list[int]:
    """Give the same paths to other images, of all data or of the same data set."""
    rng = np.random.default_rng(seed)
    result = np.array(chosen)
    groups = [s.group if within else '' for s in seen]
    for group in set(groups):
        index = np.flatnonzero([g == group for g in groups])
        result[index] = result[rng.permutation(index)]
    return [int(path) for path in result]


def hardness(image: Seen) -> float:
    """Give how many objects there are, labelled or, without labels, seen by the full path."""
    truth = image.sample.truth
    if truth is not None and truth.objects is not None:
        return float(len(truth.objects))
    found = image.results[0].detections
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
    data = data or ROOT.parent / 'shared' / 'data'
    seen = list(look(model, data, recipe or ROOT / 'recipes' / 'cspnano.yaml'))
    names = [path.name for path in model.manifest.paths.choices]
    full = accuracy(seen, [0] * len(seen))
    console, rows = Console(width=150), []

    def row(rule: str, budget: object, chosen: Sequence[int], policy: bool) -> dict[str, float]:
        found = accuracy(seen, chosen)
        cost = spent(seen, chosen, spec.block.macs if policy else 0)
        rows.append(
            {
                'rule': rule,
                'budget': budget,
                'macs': round(cost, 3),
                'time': round(slower(seen, chosen, policy), 3),
                **{task: round(value, 4) for task, value in found.items()},
                'loss %': round(loss(found, full), 2),
                'paths': ' '.join(f'{n}:{list(chosen).count(i)}' for i, n in enumerate(names)),
            }
        )
        return found

    for index, name in enumerate(names):
        row('fixed', name, [index] * len(seen), policy=False)
    for index, budget in enumerate(BUDGETS):
        chosen = [int(s.scores[index].argmax()) if budget < 1 else 0 for s in seen]
        row('policy', budget, chosen, policy=budget < 1)
        for rule, within in (('random', False), ('random in set', True)):
            tries = [accuracy(seen, shuffled(seen, chosen, s, within)) for s in range(SEEDS)]
            losses = [loss(t, full) for t in tries]
            rows.append(
                {
                    **dict.fromkeys(rows[0], ''),
                    'rule': rule,
                    'budget': budget,
                    **{t: round(float(np.mean([x[t] for x in tries])), 4) for t in TASKS},
                    'loss %': f'{np.mean(losses):.2f} ± {np.std(losses):.2f}',
                }
            )
    table = Table(*rows[0])
    for values in rows:
        table.add_row(*(str(value) for value in values.values()))
    console.print(table)
    hard = np.array([hardness(s) for s in seen])
    low, high = np.quantile(hard, (1 / 3, 2 / 3))
    for index, budget in enumerate(BUDGETS[:-1]):
        cost = np.array([s.macs[int(s.scores[index].argmax())] / s.macs[0] for s in seen])
        ratio = cost[hard <= low].mean() / cost[hard >= high].mean()
        console.print(f'budget {budget}: few objects / many objects, MACs {ratio:.3f} (bar 0.80)')
    share = spec.block.macs / seen[0].macs[0]
    console.print(f'policy: {share:.4f} of the MACs (bar 0.03)')
    if out is not None:
        with out.open('w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == '__main__':
    main()
