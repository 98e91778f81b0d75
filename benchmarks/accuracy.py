# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prints the table of the model card: a model folder's accuracy on data it was not trained on.

python benchmarks/accuracy.py models/cspnano --data ../shared/data [--unseen rgbd/my_room:585]

`--unseen` measures an RGB-D set of which no frame was trained on, with its focal length in
pixels; it may be given several times.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import onnx
from rich.console import Console

from mt_perception.errors import PerceptionError
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.model_metrics import depth_set, measure_metrics, measure_set
from mt_perception.training.recipe import Recipe, SetSpec, read_recipe

ROOT = Path(__file__).resolve().parent.parent
UNSEEN = ('rgbd/nc_kitchen:585',)


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--recipe', type=click.Path(exists=True, path_type=Path))
@click.option('--unseen', multiple=True, default=UNSEEN, metavar='FOLDER:FOCAL', show_default=True)
def main(model: Path, data: Path | None, recipe: Path | None, unseen: tuple[str, ...]) -> None:
    """Measure MODEL through the pipeline that runs on the robot."""
    data = data or ROOT.parent / 'shared' / 'data'
    plan = read_recipe(recipe or ROOT / 'recipes' / 'cspnano.yaml')
    try:
        pipeline = Pipeline.load(model)
        with Console(stderr=True).status('measuring'):
            figures = measure_metrics(pipeline, data, plan)
            for item in unseen:
                figures |= unseen_figures(pipeline, data, item)
    except PerceptionError as error:
        raise click.ClickException(str(error)) from error
    baseline = count_weights(data / plan.initial_weights)
    blocks = pipeline.manifest.graph.blocks
    ours = sum(blocks[name].parameters for name in ('trunk', 'detection'))
    click.echo(table(figures, plan, ours, baseline))


def unseen_figures(pipeline: Pipeline, data: Path, item: str) -> dict[str, float]:
    """Measure depth on every frame of a set, given as "folder:focal length"."""
    folder, _, focal = item.rpartition(':')
    if not (data / folder).is_dir():
        return {}
    name = Path(folder).name
    spec = SetSpec(name, 'rgbd', folder, 0.0, focal_px=float(focal))
    found = measure_set(pipeline, data, depth_set(spec, split=None)).values
    return {f'{key}/{name}': value for key, value in found.items()}


def count_weights(path: Path) -> int:
    """Count the values of an ONNX file's weights."""
    model = onnx.load(str(path))
    return sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)


def table(figures: Mapping[str, float], plan: Recipe, ours: int, baseline: int) -> str:
    """Give the figures as Markdown: the main ones with what we ask of them, then the details."""
    known = {spec.name for spec in plan.sets}
    scenes = [key.partition('/')[2] for key in figures if key.startswith('abs_rel_scaled/')]
    unseen = [scene for scene in scenes if scene not in known]
    rows = [
        '| figure | value | wanted |',
        '|---|---|---|',
        f'| detection AP (AP50) | {figures["ap"]:.3f} ({figures["ap50"]:.3f}) | ≥ 0.29 |',
        f'| … parameters of trunk and head over those of YOLOX-nano | {ours:,} / {baseline:,} = '
        f'{ours / baseline:.2f} | ≤ 1.2 |',
        f'| segmentation mIoU over {_classes(figures)} classes | {figures["miou"]:.3f} | ≥ 0.45 |',
        f'| … person IoU | {figures["iou/person"]:.3f} | ≥ 0.65 |',
        f'| depth AbsRel, known scenes | {figures["abs_rel"]:.3f} | ≤ 0.15 |',
    ]
    for scene in unseen:
        constant = figures[f'abs_rel_constant/{scene}']
        rows += [
            f'| depth AbsRel, {scene}: never seen | {figures[f"abs_rel/{scene}"]:.3f} | '
            f'< {constant:.3f}, the best constant |',
            f'| … scaled by the median | {figures[f"abs_rel_scaled/{scene}"]:.3f} | '
            f'< {constant:.3f} |',
        ]
    rows += [
        '',
        '| depth | AbsRel | δ1 | AbsRel scaled by the median | best constant |',
        '|---|---|---|---|---|',
    ]
    for suffix, name in [
        *((f'/{scene}', scene) for scene in scenes if scene in known),
        ('', 'mean of these'),
        *((f'/{scene}', f'{scene}, never seen') for scene in unseen),
    ]:
        values = (
            figures[f'{key}{suffix}']
            for key in ('abs_rel', 'delta1', 'abs_rel_scaled', 'abs_rel_constant')
        )
        rows.append(f'| {name} | ' + ' | '.join(f'{value:.3f}' for value in values) + ' |')
    classes = {key[4:]: value for key, value in figures.items() if key.startswith('iou/')}
    best = sorted(classes.items(), key=lambda item: -item[1])
    rows += ['', 'IoU by class: ' + ', '.join(f'{n} {value:.2f}' for n, value in best) + '.']
    return '\n'.join(rows)


def _classes(figures: Mapping[str, float]) -> int:
    return sum(key.startswith('iou/') for key in figures)


if __name__ == '__main__':
    main()
