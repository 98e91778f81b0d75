# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compares the detection scores of the paths: whether equal scores are equally likely to be right.

python benchmarks/path_scores.py models/cspnano --data ../shared/data

Every path runs on one part (choose unless --part says report) of recipes/splits/cspnano.yaml. The
table has its precision at a threshold, averaged over the IoU thresholds of AP, and the Platt
scaling to the scores of the full path: slope 1 and offset 0 where scores mean the same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.parts import CHOOSE, PARTS, Parts, read_parts
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.execution.options import Options
from mt_perception.model.paths import FULL_PATH
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.training.cascade.platt_scaling import (
    same_log_odds,
    score_matches,
    to_logits,
)
from mt_perception.types import DETECTION, Detections

ROOT = Path(__file__).resolve().parent.parent
LEAST_SCORE, THRESHOLD = 0.05, 0.35

Matches = tuple[NDArray[np.float64], NDArray[np.float64]]


def matches_of_paths(model: Path, data: Path, parts: Parts, part: str) -> dict[str, Matches]:
    """Run each path on the images with boxes; return its scores, and how right each is."""
    pipeline = Pipeline.load(model, Options(score_threshold=LEAST_SCORE))
    manifest = pipeline.manifest
    classes = ClassMap(manifest.tasks[DETECTION].labels, (), read_taxonomy())
    names = [path.name for path in manifest.paths.choices]
    found: dict[str, list[Detections | None]] = {name: [] for name in names}
    samples: list[Sample] = []
    for folder in parts.folders(part):
        keys = parts.images.get(folder, {}).get(part)
        if not keys or not (data / folder / 'instances.json').exists():
            continue
        with open_samples(str(data / folder), SourceOptions(keys=keys), classes) as source:
            for sample in source:
                samples.append(sample)
                for name in names:
                    pipeline.budget = Budget(path=name)
                    found[name].append(pipeline.run(sample.frame, [DETECTION]).detections)
                samples[-1] = replace(sample, frame=replace(sample.frame, image=np.empty(0)))
    print(f'{len(samples)} images of the part {part}')
    return {name: score_matches(found[name], samples) for name in names}


def operating_point(matches: Matches) -> str:
    """Precision and recall at the threshold, as cells of a table."""
    scores, right = matches
    kept = right[scores >= THRESHOLD]
    return f'{kept.mean():.3f} | {kept.sum():.0f}'


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--part', type=click.Choice(PARTS), default=CHOOSE, show_default=True)
def main(model: Path, data: Path | None, part: str) -> None:
    """Compare the scores of the paths of MODEL."""
    data = data or ROOT.parent / 'shared' / 'data'
    parts = read_parts(ROOT / 'recipes' / 'splits' / 'cspnano.yaml')
    matches = matches_of_paths(model, data, parts, part)
    full = matches[FULL_PATH]
    print(f'| path | precision at {THRESHOLD:g} | right | slope | offset | scaled | right |')
    print('|---|---|---|---|---|---|---|')
    for name, (scores, right) in matches.items():
        slope, offset = same_log_odds(full, (scores, right))
        scaled = 1 / (1 + np.exp(-(slope * to_logits(scores) + offset)))
        cells = f'{operating_point((scores, right))} | {slope:.3f} | {offset:+.3f}'
        print(f'| {name} | {cells} | {operating_point((scaled, right))} |')


if __name__ == '__main__':
    main()
