# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Calibrates the confidence of a model folder's segmentation."""

from __future__ import annotations

from pathlib import Path

from mt_perception.evaluation.metrics.confidence import platt_scaling
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.model.folder import read_manifest_data, write_manifest_data
from mt_perception.pipeline import Pipeline
from mt_perception.training.export.model_metrics import measure, validation_sets
from mt_perception.training.recipe import Recipe
from mt_perception.types import SEGMENTATION


def calibrate_confidence(model: Path, data: Path, recipe: Recipe) -> tuple[float, float]:
    """Fit the calibration on the validation parts of a recipe's data, and write the manifest.

    Args:
        model: The model folder.
        data: The data folder.
        recipe: Names the data sets; of a recipe with parts, the part ``choose`` is used.

    Returns:
        Slope and offset of the log-odds; (1, 0) for a model without a confidence.
    """
    manifest = read_manifest_data(model)
    entry = manifest['tasks'].get(SEGMENTATION, {}).get('confidence')
    if entry is None:
        return 1.0, 0.0
    entry.update(slope=1.0, offset=0.0)
    write_manifest_data(model, manifest)
    metric, pipeline = SegmentationMetric(), Pipeline.load(model)
    for source in validation_sets(recipe, data):
        if SEGMENTATION in source.tasks:
            folder = data / source.folder
            only = {SEGMENTATION: metric}
            measure(pipeline, folder, source.split, None, only, recipe.taxonomy, source.keys)
    slope, offset = platt_scaling(metric.confidence)
    entry.update(slope=round(slope, 4), offset=round(offset, 4))
    write_manifest_data(model, manifest)
    return slope, offset
