# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How few bytes keep how much accuracy: the cut's rates against JPEG and WebP of the same image.

Every case sees the network's own input; a picture format's bytes are those of that image, and the
whole network then sees what was decoded. Results are kept, one line for each case, so that an
interrupted run goes on.

python benchmarks/rate_accuracy.py models/cspnano --data ../shared/data --out out/rate_accuracy
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mt_perception.graph.plan import Plan
from mt_perception.offload.cut_runner import CutRunner
from mt_perception.pipeline import Pipeline
from mt_perception.runtime.executor import Outcome, Runner
from mt_perception.runtime.manifest import parse_manifest
from mt_perception.training.figures import all_figures
from mt_perception.training.recipe import read_recipe

ROOT = Path(__file__).resolve().parent.parent
# Task → (its figure, whether more is better).
FIGURES = {'detection': ('ap', True), 'segmentation': ('miou', True), 'depth': ('abs_rel', False)}
QUALITIES = {'JPEG': (10, 20, 30, 50, 75, 90), 'WebP': (5, 20, 50, 75)}
REFERENCE = 'JPEG 75'
_FLAGS = {'JPEG': ('.jpg', cv2.IMWRITE_JPEG_QUALITY), 'WebP': ('.webp', cv2.IMWRITE_WEBP_QUALITY)}


@dataclass
class Counted:
    """A runner, and the bytes that its frames cost, by the tasks that were asked for."""

    inner: Runner
    encode: Callable[[NDArray[np.uint8]], tuple[int, NDArray[np.uint8]]]
    bytes_of: dict[str, list[int]] = field(default_factory=dict)

    def run(self, plan: Plan, image: NDArray[np.uint8]) -> Outcome:
        size, seen = self.encode(image)
        outcome = self.inner.run(plan, seen)
        size = int(outcome.facts.get('offload.payload_bytes', size))
        for task in plan.tasks:
            self.bytes_of.setdefault(task, []).append(size)
        return outcome


def as_picture(kind: str, quality: int, image: NDArray[np.uint8]) -> tuple[int, NDArray[np.uint8]]:
    """The bytes of an image in a picture format, and what is decoded from them."""
    ending, flag = _FLAGS[kind]
    _, code = cv2.imencode(ending, image[0], [flag, quality])
    return len(code), np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)[None]


def measured(pipeline: Pipeline, runner: Counted, data: Path, recipe: Path) -> dict[str, object]:
    """Accuracy and bytes of one case."""
    case = Pipeline(pipeline.manifest, runner)
    figures = all_figures(case, data, read_recipe(recipe))
    return {
        'figures': {task: figures[name] for task, (name, _) in FIGURES.items()},
        'bytes': {task: float(np.mean(sizes)) for task, sizes in runner.bytes_of.items()},
    }


def cases(model: Path, pipeline: Pipeline) -> dict[str, Counted]:
    """Every case by name: the image itself, its rates, pictures of it."""
    whole = pipeline.runner
    found = {'image': Counted(whole, lambda image: (image.size, image))}
    for kind, qualities in QUALITIES.items():
        for quality in qualities:
            found[f'{kind} {quality}'] = Counted(
                whole, lambda image, k=kind, q=quality: as_picture(k, q, image)
            )
    if pipeline.manifest.cut is not None:
        for rate in range(len(pipeline.manifest.cut.rates)):
            runner = CutRunner(model, rate)
            found[f'cut {rate}'] = Counted(runner, lambda image: (0, image))
    return found


def bytes_needed(
    rows: Mapping[str, dict[str, dict[str, float]]], kind: str, task: str, wanted: float
) -> float | None:
    """The bytes at which a kind's curve reaches a figure, between its points on a line."""
    _, rises = FIGURES[task]
    points = sorted(
        (row['bytes'][task], row['figures'][task] if rises else -row['figures'][task])
        for name, row in rows.items()
        if name.startswith(kind)
    )
    goal = wanted if rises else -wanted
    for (x0, y0), (x1, y1) in zip([(0.0, -1.0), *points], points, strict=False):
        if y1 >= goal:
            return x1 if x0 == 0 or y0 >= goal else x0 + (x1 - x0) * (goal - y0) / (y1 - y0)
    return None


def show(rows: Mapping[str, dict[str, dict[str, float]]], console: Console) -> None:
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
    if REFERENCE not in rows:
        return
    for task in FIGURES:
        goal = rows[REFERENCE]['figures'][task]
        full = rows[REFERENCE]['bytes'][task]
        said = []
        for kind in ('cut', 'WebP', 'JPEG'):
            needed = bytes_needed(rows, kind, task, goal)
            said.append(f'{kind} ' + ('not reached' if needed is None else f'{needed / full:.2f}'))
        found = ', '.join(said)
        console.print(f'{task}: bytes for the {goal:.4f} of {REFERENCE}, relative: {found}')


def plot(rows: Mapping[str, dict[str, dict[str, float]]], path: Path) -> None:
    """Draw one panel for each task."""
    import matplotlib as mpl

    mpl.use('svg')
    mpl.rcParams['svg.hashsalt'] = 'mt_perception'
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(FIGURES), figsize=(11, 3.4), layout='constrained')
    styles = {'JPEG': ('#b0552f', 's'), 'WebP': ('#5a7d3a', '^'), 'cut': ('#2a5fa5', 'o')}
    for panel, (task, (name, rises)) in zip(panels, FIGURES.items(), strict=True):
        for kind, (colour, marker) in styles.items():
            points = sorted(
                (row['bytes'][task] / 1e3, row['figures'][task])
                for case, row in rows.items()
                if case.startswith(kind)
            )
            if points:
                panel.plot(*zip(*points, strict=True), color=colour, marker=marker, label=kind)
        if 'image' in rows:
            panel.axhline(rows['image']['figures'][task], color='#888', linestyle=':', label='all')
        panel.set_xlabel('kB a frame')
        panel.set_title(f'{task}: {name} ({"more" if rises else "less"} is better)', fontsize=10)
        panel.set_xlim(left=0)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.savefig(path, metadata={'Date': None})


def write_down(rows: Mapping[str, dict[str, dict[str, float]]], model: Path) -> None:
    """Write each rate's bytes and accuracy into the manifest, from which robots choose."""
    path = model / 'manifest.yaml'
    data = yaml.safe_load(path.read_text(encoding='utf-8'))
    for index, rate in enumerate(data['cut']['rates']):
        row = rows[f'cut {index}']
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
    kept = out / 'cases.jsonl'
    lines = kept.read_text(encoding='utf-8').splitlines() if kept.exists() else []
    rows = {row['case']: row for row in map(json.loads, lines)}
    found = cases(model, pipeline)
    for name, runner in found.items():
        if name in rows or not (not only or name.startswith(tuple(only))):
            continue
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
    plot(rows, out / 'rate_accuracy.svg')
    if write:
        write_down(rows, model)
    console.print(f'{out / "rate_accuracy.svg"}')


if __name__ == '__main__':
    main()
