# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Three single-task nets, hard sharing, a sharing tree and gates, on the same steps and seeds.

Takes an hour and a half on one core; what is done is not done again. Every net sees as many
training steps: single-task nets and the hard-shared one train for as long as the structures that
start from them half way. Prints one table; one JSON file for every net lies in the output folder.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')

from mt_perception.evaluation.datasets.taxonomy import ClassMap
from mt_perception.execution.options import Options
from mt_perception.network.branched import Branched
from mt_perception.network.interrogate import GatedTrunk
from mt_perception.network.multitask import TASKS, Multitask
from mt_perception.planning.path_plan import full_plan
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.data import recipe_sets
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.export.model_metrics import measure_metrics
from mt_perception.training.export.publish_model import averaged
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.export.write_model import ModelCard
from mt_perception.training.loop import train
from mt_perception.training.recipe import Phase, Recipe, Structure, read_recipe
from mt_perception.training.structure.structure import (
    HARD_SHARED,
    is_finished,
    single_folder,
    single_task,
    train_structure,
)

ROOT = Path(__file__).resolve().parent.parent
VARIETIES = (0.5, 0.3, 0.0)
SEPARATE = 'three single-task nets'
TARGETS = (0.2, 0.05, 0.4, 0.1)
FIGURE = {'detection': 'ap', 'segmentation': 'miou', 'depth': 'abs_rel'}
LOWER_IS_BETTER = {'depth'}


@dataclass(frozen=True)
class Bench:
    """Settings that all networks of the comparison share."""

    recipe: Recipe
    sets: Sequence[SampleSet]
    classes: ClassMap
    data: Path
    out: Path

    @property
    def labels(self) -> tuple[Sequence[str], Sequence[str]]:
        return self.classes.detection, self.classes.segmentation

    @property
    def weights(self) -> Path:
        return self.data / self.recipe.initial_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get('MT_PERCEPTION_DATA', str(ROOT.parent / 'shared' / 'data'))
    parser.add_argument('--data', type=Path, default=Path(data))
    parser.add_argument('--recipe', type=Path, default=ROOT / 'recipes' / 'structure.yaml')
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--cache', type=Path, help="the teachers' predictions; default: in --out")
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, help="of each half; default: the recipe's")
    parser.add_argument('--only', default='', help='structures whose name begins like this')
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    if args.steps:
        recipe = shortened(recipe, args.steps)
    classes = recipe_sets.network_classes(recipe, args.data)
    cache = args.cache or args.out / 'cache'
    for _ in recipe_sets.write_pseudo_labels(recipe, args.data, classes, cache):
        pass
    sets = recipe_sets.read_sets(recipe, args.data, classes, cache)
    benches = [
        Bench(replace(recipe, seed=seed), sets, classes, args.data, args.out / f'seed{seed}')
        for seed in range(1, args.seeds + 1)
    ]
    # One structure after the other, so that an interrupted run has all seeds of the first ones.
    for name in structures(recipe):
        for bench in benches if name.startswith(args.only) else ():
            one_net(bench, name)
            print(table(args.out), flush=True)


def shortened(recipe: Recipe, steps: int) -> Recipe:
    def short(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        return tuple(replace(p, steps=steps, warmup=min(p.warmup, steps // 5)) for p in phases)

    structure = replace(recipe.structure, phases=short(recipe.structure.phases))
    return replace(recipe, phases=short(recipe.phases), structure=structure)


def structures(recipe: Recipe) -> dict[str, Structure]:
    """Return the compared structures by name."""
    trees = {
        f'antler_{variety:.2f}': replace(recipe.structure, kind='antler', variety=variety)
        for variety in VARIETIES
    }
    gates = {
        f'interrogate_{tau:.2f}': replace(
            recipe.structure, kind='interrogate', targets=dict.fromkeys(TASKS, tau)
        )
        for tau in TARGETS
    }
    return {**trees, **gates}


def one_net(bench: Bench, name: str) -> None:
    """Train and measure a structure and its baselines."""
    recipe = replace(bench.recipe, structure=structures(bench.recipe)[name])
    run = bench.out / name
    if not (run / 'figures.json').exists():
        for now in train_structure(recipe, bench.sets, bench.labels, bench.weights, run):
            tell(bench, name, now)
        measure(bench, averaged(load_checkpoint(run)), run)
    longer(bench)


def longer(bench: Bench) -> None:
    """Train the single-task and hard-shared networks for as many steps as the structures."""
    joint = bench.recipe.phases[-1]
    steps = sum(phase.steps for phase in bench.recipe.structure.phases)
    further = replace(joint, name='further', steps=steps)
    more = replace(bench.recipe, structure=Structure(), phases=(*bench.recipe.phases, further))
    jobs = {single_folder(bench.out, task): single_task(more, task) for task in TASKS}
    jobs[bench.out / HARD_SHARED] = more
    for half, recipe in jobs.items():
        run = half.with_name(f'{half.name}_long')
        if (run / 'figures.json').exists():
            continue
        if half.exists() and not run.exists():
            shutil.copytree(half, run)
        if not is_finished(recipe, run):
            for now in train(recipe, bench.sets, bench.labels, bench.weights, run):
                tell(bench, run.name, now)
        measure(bench, averaged(load_checkpoint(run)), run)


def tell(bench: Bench, name: str, now: object) -> None:
    step = getattr(now, 'step', 0)
    if step % 25 == 0:
        print(f'{bench.out.name} {name}: {now}', flush=True)


def measure(bench: Bench, network: Multitask, run: Path) -> None:
    """Measure a network on the validation data with the pipeline of deployment."""
    card = ModelCard('structure', 'none', 'none', '', *bench.labels)
    pipeline = torch_pipeline(network.eval(), card)
    pipeline.options = Options(size=max(bench.recipe.canvases[0]))
    found = dict(measure_metrics(pipeline, bench.data, bench.recipe))
    manifest = pipeline.manifest
    for name, tasks in {'all': TASKS, **{task: (task,) for task in TASKS}}.items():
        macs = full_plan(manifest.graph, tasks).macs
        found[f'macs/{name}'] = manifest.macs_at(macs, bench.recipe.canvases[0])
    if isinstance(network, Branched) and isinstance(network.trunk, GatedTrunk):
        use = network.trunk.gates.use().tolist()
        found |= {f'use/{task}': share for task, share in zip(TASKS, use, strict=True)}
    (run / 'figures.json').write_text(json.dumps(found, indent=1), encoding='utf-8')


def measured(out: Path) -> dict[str, list[dict[str, float]]]:
    """Return the rows of all networks and seeds, by structure."""
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in sorted(out.glob('seed*')):
        base = baseline(seed)
        if not base:
            continue
        found = {SEPARATE: compared(base, base)}
        for path in sorted(seed.glob('*/figures.json')):
            if not path.parent.name.startswith('single'):
                figures = json.loads(path.read_text(encoding='utf-8'))
                found[path.parent.name.removesuffix('_long')] = compared(figures, base)
        # Seeds differ more than structures do: what is compared is within a seed.
        hard = found.get(HARD_SHARED, {}).get('delta_mtl_%', math.nan)
        for name, row in found.items():
            rows.setdefault(name, []).append({**row, 'over_hard': row['delta_mtl_%'] - hard})
    return rows


def table(out: Path) -> str:
    """Return the table of all networks, mean ± standard deviation over seeds."""
    rows = measured(out)
    columns = (
        *('ap', 'miou', 'abs_rel', 'delta_mtl_%', 'over_hard'),
        *('mmacs', 'of_three', 'of_hard', 'use'),
    )
    hard = statistics.mean([r['mmacs'] for r in rows.get(HARD_SHARED, ())] or [math.nan])
    lines = [
        '| structure | seeds | ' + ' | '.join(columns) + ' |',
        '|---' * (2 + len(columns)) + '|',
    ]
    for name, found in rows.items():
        cells = []
        for column in columns:
            values = [r['mmacs'] / hard if column == 'of_hard' else r[column] for r in found]
            spread = f' ± {statistics.stdev(values):.3f}' if len(values) > 1 else ''
            cells.append(f'{statistics.mean(values):.3f}{spread}')
        lines.append(f'| {name} | {len(found)} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def baseline(seed: Path) -> dict[str, float]:
    """Return each task's metric of its single-task network, and the cost of all three."""
    paths = {task: seed / f'single_task_{task}_long' / 'figures.json' for task in TASKS}
    if not all(path.exists() for path in paths.values()):
        return {}
    base = {'macs/all': 0.0}
    for task, path in paths.items():
        found = json.loads(path.read_text(encoding='utf-8'))
        base[FIGURE[task]] = found[FIGURE[task]]
        base['macs/all'] += found[f'macs/{task}']
    return base


def compared(found: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    """Return a network's row: its metrics and Δ_MTL (arXiv 1904.08918, equation 4) in per cent."""
    changes = [
        (-1 if task in LOWER_IS_BETTER else 1) * (found[name] - base[name]) / base[name]
        for task, name in FIGURE.items()
    ]
    return {
        **{name: found[name] for name in FIGURE.values()},
        'delta_mtl_%': 100 * statistics.mean(changes),
        'mmacs': found['macs/all'] / 1e6,
        'of_three': found['macs/all'] / base['macs/all'],
        'use': max((found.get(f'use/{task}', 0.0) for task in TASKS), default=0.0),
    }


if __name__ == '__main__':
    main()
