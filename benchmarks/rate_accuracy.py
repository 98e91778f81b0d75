# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How few bytes keep how much accuracy: the cut's rates against JPEG and WebP of the same image.

The figures of the model card: what ``mt_perception evaluate --sweep codec=all`` measures on one
data set, here on the validation parts of a recipe's data, with the mean over scenes for depth.
Results are kept, one line for each case, so that an interrupted run goes on.

python benchmarks/rate_accuracy.py models/cspnano --data ../shared/data --out out/rate_accuracy
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from mt_perception.evaluation.rate_distortion import (
    IMAGE,
    JPEG,
    RATE,
    REFERENCE,
    WEBP,
    Codec,
    bytes_needed,
    parse_codec,
    standard_codecs,
    through,
)
from mt_perception.execution.frame_run import FrameRun, Runner
from mt_perception.execution.plan import Stage
from mt_perception.model.manifest import parse_manifest
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.model_metrics import measure_metrics
from mt_perception.training.recipe import read_recipe

ROOT = Path(__file__).resolve().parent.parent
# Task → (its figure, whether more is better).
FIGURES = {'detection': ('ap', True), 'segmentation': ('miou', True), 'depth': ('abs_rel', False)}
KINDS = (RATE, WEBP, JPEG)

Rows = Mapping[str, dict[str, dict[str, float]]]


@dataclass
class Counted:
    """A runner, and the bytes that its frames had, by the tasks that were asked for."""

    inner: Runner
    bytes_of: dict[str, list[int]] = field(default_factory=dict)

    def run(self, stage: Stage, run: FrameRun) -> None:
        self.inner.run(stage, run)
        for task in run.plan.tasks:
            self.bytes_of.setdefault(task, []).append(run.offload.payload_bytes)


def measured(pipeline: Pipeline, runner: Runner, data: Path, recipe: Path) -> dict[str, object]:
    """Accuracy and bytes of one case."""
    counted = Counted(runner)
    figures = measure_metrics(Pipeline(pipeline.manifest, counted), data, read_recipe(recipe))
    return {
        'figures': {task: figures[name] for task, (name, _) in FIGURES.items()},
        'bytes': {task: float(np.mean(sizes)) for task, sizes in counted.bytes_of.items()},
    }


def points(rows: Rows, kind: str, task: str) -> list[tuple[float, float]]:
    """(bytes, figure) of the cases of one kind."""
    return [
        (row['bytes'][task], row['figures'][task])
        for name, row in rows.items()
        if parse_codec(name).kind == kind
    ]


def show(rows: Rows, console: Console) -> None:
    """Print the table, and what each kind needs for the reference's figures."""
    table = Table(
        'case', *(f'{task} bytes' for task in FIGURES), *(n for n, _ in FIGURES.values())
    )
    for name, row in rows.items():
        table.add_row(
            name,
            *(f'{row["bytes"][task]:,.0f}' for task in FIGURES),
            *(f'{row["figures"][task]:.4f}' for task in FIGURES),
        )
    console.print(table)
    reference = rows.get(REFERENCE.name)
    if reference is None:
        return
    for task, (_, rises) in FIGURES.items():
        goal, full = reference['figures'][task], reference['bytes'][task]
        said = []
        for kind in KINDS:
            needed = bytes_needed(points(rows, kind, task), goal, rises)
            said.append(f'{kind} ' + ('not reached' if needed is None else f'{needed / full:.2f}'))
        found = ', '.join(said)
        console.print(f'{task}: bytes for the {goal:.4f} of {REFERENCE.name}, relative: {found}')


def write_down(rows: Rows, model: Path) -> None:
    """Write each rate's bytes and accuracy into the manifest, from which robots choose."""
    path = model / 'manifest.yaml'
    data = yaml.safe_load(path.read_text(encoding='utf-8'))
    for index, rate in enumerate(data['cut']['rates']):
        row = rows[Codec(RATE, index).name]
        rate['payload_bytes'] = round(row['bytes']['detection'])
        rate['accuracy'] = {task: round(value, 4) for task, value in row['figures'].items()}
    text = yaml.safe_dump(data, sort_keys=False, width=99)
    parse_manifest(text)
    path.write_text(text, encoding='utf-8')


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--recipe', type=click.Path(exists=True, path_type=Path))
@click.option('--out', default=Path('out/rate_accuracy'), type=click.Path(path_type=Path))
@click.option('--only', multiple=True, help='Only cases that begin so; may be given twice.')
@click.option('--write', is_flag=True, help='Write the figures of the rates into the manifest.')
def main(
    model: Path,
    data: Path | None,
    recipe: Path | None,
    out: Path,
    only: Sequence[str],
    write: bool,
) -> None:
    """Measure MODEL, a folder with a cut, on the validation parts of a recipe's data."""
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    pipeline = Pipeline.load(model)
    found = standard_codecs(str(model))
    kept = out / 'cases.jsonl'
    lines = kept.read_text(encoding='utf-8').splitlines() if kept.exists() else []
    rows = {row['case']: row for row in map(json.loads, lines) if row['case'] in found}
    runner = through(pipeline, model, Codec(IMAGE))
    for name in found:
        if name in rows or not (not only or name.startswith(tuple(only))):
            continue
        runner.codec = parse_codec(name)
        row = measured(
            pipeline,
            runner,
            data or ROOT.parent / 'shared' / 'data',
            recipe or ROOT / 'recipes' / 'cspnano.yaml',
        )
        rows[name] = {'case': name, **row}
        with kept.open('a', encoding='utf-8') as file:
            file.write(json.dumps(rows[name]) + '\n')
        console.print(f'{name}: {row}', highlight=False)
    show({name: rows[name] for name in found if name in rows}, console)
    if write:
        write_down(rows, model)


if __name__ == '__main__':
    main()
