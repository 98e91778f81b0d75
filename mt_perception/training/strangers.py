# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detectors that never saw the training pictures: they tell what a smaller size really loses."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from mt_perception.evaluation.subject import RunSettings, open_subject
from mt_perception.network.multitask import Multitask
from mt_perception.network.pretrained import load_yolox
from mt_perception.runtime.model_folder import read_manifest
from mt_perception.runtime.options import Options
from mt_perception.training.export import ModelCard, export_folder
from mt_perception.training.paths import read, write
from mt_perception.training.regret import Judge
from mt_perception.training.samples import Boxes
from mt_perception.types import DETECTION, Frame

# From this score on the judge is believed.
_SURE = 0.5


def write_stranger(full: Multitask, weights: Path, model: Path, folder: Path) -> None:
    """Write a model that detects as the network did before it saw our data, at every path's size.

    Args:
        full: the full network.
        weights: YOLOX checkpoint that its trunk and its detection head started from.
        model: the model folder with the paths.
        folder: where to write.
    """
    network = copy.deepcopy(full)
    load_yolox(network, weights)
    manifest = read_manifest(model)
    labels = {task: spec.labels for task, spec in manifest.tasks.items()}
    card = ModelCard(
        f'{manifest.name}_stranger',
        manifest.version,
        manifest.licence,
        'Detects as the network did before it was trained here; its other heads fit no more.',
        labels['detection'],
        labels['segmentation'],
    )
    export_folder(network, card, folder)
    plain = read(folder)
    plain['paths'] = [{**row, 'variants': [], 'accuracy': {}} for row in read(model)['paths']]
    write(folder, plain)


def open_judge(file: Path, labels: tuple[str, ...]) -> Judge:
    """Open another detector, an ONNX file that evaluation knows, as a judge of objects.

    Args:
        file: the detector.
        labels: our detector's classes; what has another name is left out.
    """
    options = Options(score_threshold=_SURE)
    subject = open_subject(f'onnx:{file}', RunSettings(options, tasks=(DETECTION,)))
    names = subject.labels[DETECTION]
    ours = np.array([labels.index(n) if n in labels else -1 for n in names], np.int64)

    def judge(frame: Frame) -> Boxes:
        found = subject.run(replace(frame, intrinsics=None)).detections
        if found is None or not len(found):
            return Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), complete=True)
        classes = ours[found.class_ids]
        known = classes >= 0
        return Boxes(found.boxes[known], classes[known], complete=True)

    return judge
