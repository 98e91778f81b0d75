# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures a model folder on pictures that are dark, blurred, noisy, compressed or tilted.

python benchmarks/robustness.py models/cspnano --data ../shared/data
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.model_metrics import EVALUATION_OPTIONS
from mt_perception.types import DETECTION, SEGMENTATION

ROOT = Path(__file__).resolve().parent.parent
Image = NDArray[np.uint8]


def dark(image: Image) -> Image:
    """A quarter of the light, with the noise that a camera then has."""
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image * 0.25 + noise, 0, 255).astype(np.uint8)


def moved(image: Image) -> Image:
    """Blurred along the rows, as while turning."""
    return np.asarray(cv2.blur(image, (max(3, image.shape[1] // 45), 1)), np.uint8)


def blurred(image: Image) -> Image:
    """Out of focus."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), image.shape[1] / 250), np.uint8)


def noisy(image: Image) -> Image:
    """Noise of 20 grey values."""
    noise = np.random.default_rng(0).normal(0, 20, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def compressed(image: Image) -> Image:
    """JPEG of quality 15."""
    _, data = cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, 15))
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def grey(image: Image) -> Image:
    """Without colour, as a mono camera sees."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))


CHANGES: dict[str, Callable[[Image], Image]] = {
    'as they are': lambda image: image,
    'dark: a quarter of the light': dark,
    'blurred by turning': moved,
    'out of focus': blurred,
    'noise of 20 grey values': noisy,
    'JPEG of quality 15': compressed,
    'without colour': grey,
}


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--data', type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(model: Path, data: Path | None) -> None:
    """Measure MODEL on the validation part of COCO, changed in several ways."""
    folder = (data or ROOT.parent / 'shared' / 'data') / 'coco'
    pipeline = Pipeline.load(model, EVALUATION_OPTIONS)
    tasks = pipeline.manifest.tasks
    classes = ClassMap(tasks[DETECTION].labels, tasks[SEGMENTATION].labels, read_taxonomy())
    found = {name: (DetectionMetric(), SegmentationMetric()) for name in CHANGES}
    with (
        Console(stderr=True).status('measuring'),
        open_samples(str(folder), SourceOptions(split='val2017'), classes) as samples,
    ):
        for sample in samples:
            for name, change in CHANGES.items():
                frame = replace(sample.frame, image=change(sample.frame.image))
                result = pipeline.run(frame, (DETECTION, SEGMENTATION))
                for metric in found[name]:
                    metric.process(sample, result)
    click.echo(
        '| pictures | AP | of that | mIoU | of that | person IoU |\n|---|---|---|---|---|---|'
    )
    whole: tuple[float, float] | None = None
    for name, (detection, segmentation) in found.items():
        pixels = segmentation.evaluate()
        ap, miou = float(detection.evaluate()['ap']), float(pixels['miou'])
        whole = whole or (ap, miou)
        person = pixels['classes']['person']['iou']
        click.echo(
            f'| {name} | {ap:.3f} | {ap / whole[0]:.0%} | {miou:.3f} | {miou / whole[1]:.0%} '
            f'| {person:.3f} |'
        )


if __name__ == '__main__':
    main()
