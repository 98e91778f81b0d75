# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Prints a release's figures beside those of other networks, on images that nobody chose by.

python benchmarks/release_figures.py models/cspnano --data ../shared/data

The images and scenes are those of one part (report unless --part says choose) of
recipes/splits/cspnano.yaml; no network was trained on them by us. Scenes that MODEL was trained on
after its figures had been measured (`trained_later` in that file) are left out. Intervals are the
middle 95 % of 1000 resamples of the images, for means over scenes of the scenes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import PerceptionError
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.parts import PARTS, Parts, read_parts
from mt_perception.evaluation.datasets.taxonomy import read_taxonomy
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric, restrict, summarise
from mt_perception.evaluation.predictor import Predictor, RunSettings, open_predictor
from mt_perception.model.folder import read_manifest, read_manifest_data, write_manifest_data
from mt_perception.planning.budget import Budget
from mt_perception.training.export.model_metrics import (
    EVALUATION_OPTIONS,
    MAX_RANGE_M,
    ValidationSet,
    scene_sets,
)
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

ROOT = Path(__file__).resolve().parent.parent
DETECTORS = {
    'YOLOX-nano': 'teachers/yolox_nano_416.onnx',
    'PicoDet-S': 'teachers/picodet_s_416_coco.onnx',
}
SEGMENTERS = {'DeepLab v3, 257 px': 'teachers/deeplabv3_257_pascal_float.onnx'}
DEPTHS = {'TCMonoDepth': 'teachers/tcmonodepth_tcsmallnet_192x320.onnx'}
# Classes that DeepLab's Pascal VOC classes can be told to mean, too.
SHARED = ('person', 'vehicle', 'animal', 'seat', 'table')
OBJECTS, PIXELS = ('coco_val_boxes', 'coco'), 'coco'
RESAMPLES = 1000


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--part', type=click.Choice(PARTS), default='report', show_default=True)
@click.option(
    '--budget', 'budgets', multiple=True, type=float, help='Measure the model at this budget, too.'
)
@click.option('--path', 'only', multiple=True, help='Measure only this path; repeatable.')
@click.option('--tasks', default='detection,segmentation,depth', show_default=True)
@click.option('--no-peers', is_flag=True, help='Measure MODEL only.')
@click.option('--rates', is_flag=True, help='Measure what a remote host makes of each rate, too.')
@click.option('--write', is_flag=True, help="Write the figures into MODEL's manifest.")
def main(
    model: Path,
    data: Path | None,
    part: str,
    budgets: tuple[float, ...],
    only: tuple[str, ...],
    tasks: str,
    no_peers: bool,
    rates: bool,
    write: bool,
) -> None:
    """Measure every path of MODEL, and other networks, on one part of the validation data."""
    data = data or ROOT.parent / 'shared' / 'data'
    manifest = read_manifest(model)
    parts = read_parts(ROOT / 'recipes' / 'splits' / 'cspnano.yaml')
    parts = parts.unseen_by(f'{manifest.name} {manifest.version}')
    try:
        for task, print_table in (
            (DETECTION, print_detection),
            (SEGMENTATION, print_segmentation),
            (DEPTH, print_depth),
        ):
            if task in tasks.split(','):
                ours = our_predictors(model, budgets, task, rates, only)
                values = print_table(ours, data, parts, part, not no_peers)
                click.echo()
                if write:
                    write_figures(model, task, values, f'{part} of recipes/splits/cspnano.yaml')
    except PerceptionError as error:
        raise click.ClickException(str(error)) from error


def our_predictors(
    model: Path, budgets: Iterable[float], task: str, rates: bool, only: Collection[str] = ()
) -> dict[str, Predictor]:
    """Open every path of a model, what its planner makes of them at budgets, and its rates."""
    names = [path.name for path in read_manifest(model).paths.choices]
    names = [name for name in names if not only or name in only]
    paths = {
        f'ours, {name}': RunSettings(EVALUATION_OPTIONS, tasks=(task,), budget=Budget(path=name))
        for name in names
    }
    # Which path a budget chooses depends on the tasks: all of them, as on a robot.
    mixed = {
        f'ours, budget {value:g}': RunSettings(EVALUATION_OPTIONS, budget=Budget(compute=value))
        for value in budgets
    }
    cut = read_manifest(model).cut
    coded = {
        f'ours, rate {index}': RunSettings(
            EVALUATION_OPTIONS, tasks=(task,), codec=f'rate-{index}'
        )
        for index in range(len(cut.rates) if rates and cut is not None else 0)
    }
    return {n: open_predictor(str(model), how) for n, how in (paths | mixed | coded).items()}


def write_figures(model: Path, task: str, values: Mapping[str, float], data: str) -> None:
    """Write one figure of every path and rate that was measured into the manifest."""
    manifest = read_manifest_data(model)
    metric = {DETECTION: 'ap', SEGMENTATION: 'miou', DEPTH: 'abs_rel'}[task]
    rows = [row for row in manifest['accuracy'] if row['task'] != task]
    value = round(values['ours, full'], 4)
    rows.append({'task': task, 'metric': metric, 'value': value, 'data': data})
    order = list(manifest['tasks'])
    manifest['accuracy'] = sorted(rows, key=lambda row: order.index(row['task']))
    rates = manifest.get('cut', {}).get('rates', [])
    named = [(f'ours, {path["name"]}', path) for path in manifest.get('paths', [])]
    named += [(f'ours, rate {index}', rate) for index, rate in enumerate(rates)]
    for name, row in named:
        if name in values:
            row['accuracy'][task] = round(values[name], 4)
    write_manifest_data(model, manifest)


def peers(files: Mapping[str, str], data: Path, task: str) -> dict[str, Predictor]:
    """Open the other networks that the data folder has."""
    settings = RunSettings(EVALUATION_OPTIONS, tasks=(task,))
    return {
        name: open_predictor(f'onnx:{data / file}', settings)
        for name, file in files.items()
        if (data / file).is_file()
    }


def print_detection(
    ours: Mapping[str, Predictor], data: Path, parts: Parts, part: str, with_peers: bool
) -> dict[str, float]:
    """Print average precision on the images of both folders with boxes of all classes."""
    networks = {**ours, **(peers(DETECTORS, data, DETECTION) if with_peers else {})}
    first: dict[str, float] = {}
    click.echo('| detector | images | AP | 95 % | AP50 | 95 % |\n|---|---|---|---|---|---|')
    for folder in OBJECTS:
        keys = parts.images[folder][part]
        for name, network in networks.items():
            metric = DetectionMetric()
            run(network, data / folder, keys, metric)
            values = intervals(metric.resample, len(keys), ('ap', 'ap50'))
            cells = ' | '.join(f'{mid:.3f} | {low:.3f} to {high:.3f}' for mid, low, high in
                               values.values())  # fmt: skip
            click.echo(f'| {name} | {folder}, {len(keys)} | {cells} |')
            first.setdefault(name, values['ap'][0])
    return first


def print_segmentation(
    ours: Mapping[str, Predictor], data: Path, parts: Parts, part: str, with_peers: bool
) -> dict[str, float]:
    """Print mean IoU over all classes, over those that are shared, and of persons."""
    networks = {**ours, **(peers(SEGMENTERS, data, SEGMENTATION) if with_peers else {})}
    keys = parts.images[PIXELS][part]
    found: dict[str, float] = {}
    full = SegmentationMetric()
    click.echo(
        '| segmenter | images | mIoU | 95 % | of the shared 5 | person | 95 % |\n'
        '|---|---|---|---|---|---|---|'
    )
    for name, network in networks.items():
        metric = full if name == 'ours, full' else SegmentationMetric()
        tables = [
            frame['confusion']
            for frame in run(network, data / PIXELS, keys, metric)
            if 'confusion' in frame
        ]
        whole = name in ours
        mean = bootstrap(tables, lambda t: summarise(t)['miou']) if whole else None
        shared = summarise(restrict(add(tables), SHARED))['miou']
        person = bootstrap(tables, lambda t: summarise(t)['classes']['person']['iou'])
        told = '| | ' if mean is None else f'| {mean[0]:.3f} | {mean[1]:.3f} to {mean[2]:.3f} '
        click.echo(
            f'| {name} | {len(tables)} {told}| {shared:.3f} | {person[0]:.3f} | '
            f'{person[1]:.3f} to {person[2]:.3f} |'
        )
        if mean is not None:
            found[name] = mean[0]
    print_confidence(full.evaluate())
    return found


def print_confidence(figures: Mapping[str, Any]) -> None:
    """Print how often pixels of a confidence are right, and the expected calibration error."""
    if 'ece' not in figures:
        return
    click.echo(f'\nconfidence, ours, full: ECE {figures["ece"]:.3f}')
    click.echo('| pixels | mean confidence | right |\n|---|---|---|')
    for row in figures['reliability']:
        click.echo(f'| {row["pixels"]} | {row["confidence"]:.2f} | {row["accuracy"]:.2f} |')


def print_depth(
    ours: Mapping[str, Predictor], data: Path, parts: Parts, part: str, with_peers: bool
) -> dict[str, float]:
    """Print depth on scenes of which no frame was trained on, and the means over them."""
    networks = {**ours, **(peers(DEPTHS, data, DEPTH) if with_peers else {})}
    scenes = scene_sets(data, parts, part)
    return print_scenes(
        {
            name: {scene.name: depth_of(network, data, scene) for scene in scenes}
            for name, network in networks.items()
        }
    )


def depth_of(network: Predictor, data: Path, scene: ValidationSet) -> Mapping[str, Any]:
    """Measure the depth of a network in a scene."""
    metric = DepthMetric(MAX_RANGE_M)
    run(network, data / scene.folder, scene.keys, metric, scene.focal_px)
    return metric.evaluate()


def print_scenes(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float]:
    """Print the depth of networks (name, scene), and the means over the scenes."""
    first = found[next(iter(found))]
    click.echo(
        '| scene | images | AbsRel | δ1 | scaled by the median | best constant | '
        'fitted, ours | fitted, TCMonoDepth |\n|---|---|---|---|---|---|---|---|'
    )
    for title, row in first.items():
        cells = [row['metric']['abs_rel'], row['metric']['delta1'], row['median']['abs_rel']]
        cells += [row['constant']['abs_rel'], row['affine']['abs_rel']]
        cells += [found[n][title]['affine']['abs_rel'] for n in DEPTHS if n in found]
        click.echo(
            f'| {title} | {row["frames"]} | ' + ' | '.join(f'{c:.3f}' for c in cells) + ' |'
        )
    means: dict[str, float] = {}
    click.echo('\n| mean over scenes | kind | AbsRel | 95 % |\n|---|---|---|---|')
    for name, rows in found.items():
        for kind in ('metric', 'median', 'affine', 'constant'):
            values = np.array([row[kind]['abs_rel'] for row in rows.values() if kind in row])
            if len(values) and (kind != 'constant' or name == next(iter(found))):
                mid, low, high = interval(lambda w, v=values: {'': w @ v / w.sum(axis=1)},
                                          len(values), '')  # fmt: skip
                click.echo(f'| {name} | {kind} | {mid:.3f} | {low:.3f} to {high:.3f} |')
                if kind == 'metric':
                    means[name] = mid
    return means


def run(
    network: Predictor,
    folder: Path,
    keys: frozenset[str] | None,
    metric: Any,
    focal_px: float | None = None,
) -> list[Mapping[str, Any]]:
    """Show some images of a folder to a network, and what it makes of them to a metric."""
    classes = network.classes(read_taxonomy())
    if metric.name != SEGMENTATION:
        # Label images that no metric asks for need no names of their classes.
        classes = replace(classes, segmentation=())
    options = SourceOptions(keys=keys, camera=focal_px)
    with open_samples(str(folder), options, classes) as samples:
        return [metric.process(sample, network.run(sample.frame)) for sample in samples]


def interval(resample: Any, count: int, figure: str) -> tuple[float, float, float]:
    """Give a figure and the ends of its interval; `resample` as metrics have it."""
    return intervals(resample, count, (figure,))[figure]


def intervals(
    resample: Any, count: int, figures: Iterable[str]
) -> dict[str, tuple[float, float, float]]:
    """Give several figures and the ends of their intervals, from the same resamples."""
    whole = resample(np.ones((1, count)))
    drawn = [resample(w) for w in _draws(count)]
    found = {}
    for name in figures:
        low, high = np.nanquantile(np.concatenate([row[name] for row in drawn]), [0.025, 0.975])
        found[name] = float(whole[name][0]), float(low), float(high)
    return found


def bootstrap(tables: Sequence[Mapping[str, Any]], figure: Any) -> tuple[float, float, float]:
    """The same for a figure of added up confusions."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES // 5):
        chosen = rng.integers(len(tables), size=len(tables))
        drawn.append(figure(add([tables[i] for i in chosen])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return figure(add(tables)), float(low), float(high)


def add(tables: Iterable[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """Add up confusions."""
    total: dict[str, dict[str, int]] = {}
    for table in tables:
        for true, row in table.items():
            into = total.setdefault(true, {})
            for name, pixels in row.items():
                into[name] = into.get(name, 0) + pixels
    return total


def _draws(count: int) -> Iterable[NDArray[np.float64]]:
    rng = np.random.default_rng(0)
    for _ in range(RESAMPLES // 50):
        yield rng.multinomial(count, np.full(count, 1 / count), 50).astype(np.float64)


if __name__ == '__main__':
    main()
