# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A judge of objects: another detector, asked where nobody labelled all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mt_perception.evaluation.subject import RunSettings, open_subject
from mt_perception.runtime.options import Options
from mt_perception.training.regret import Judge
from mt_perception.training.samples import Boxes
from mt_perception.types import DETECTION, Frame

# From this score on the judge is believed.
_SURE = 0.5


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
