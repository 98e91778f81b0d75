# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes frames, results and ground truth as a recording for the Rerun viewer (``.rrd``)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mt_perception.errors import OutputError
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.image.palette import colour
from mt_perception.types import DepthMap, Detections, Result, Segmentation

_MAGIC = b'RRF'
_APPLICATION = 'mt_perception'
_HEAD_BYTES = 1024
"""The start of a recording, which holds the name of its application."""
_QUALITY = 85


class RerunFile:
    """Writes one recording; use it in ``with``.

    Entities are ``camera/image`` and, below it, ``detections``, ``segmentation`` and ``depth``,
    each once for the results and once below ``truth/``. The timelines are ``frame`` and ``stamp``.

    Args:
        path: The file; an earlier recording is replaced.

    Raises:
        OutputError: The Rerun SDK is not installed, or the file is not a Rerun recording.
    """

    def __init__(self, path: Path) -> None:
        check_rerun_file(path)
        self._path = path
        self._rerun: Any = import_module('rerun')
        self._recording = self._rerun.RecordingStream(_APPLICATION)
        self._frames = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._recording.save(path)
        except (OSError, RuntimeError) as error:
            raise OutputError(f'cannot write {path}: {error}') from error

    def add(self, sample: Sample, result: Result) -> None:
        """Write one frame, its results and its ground truth."""
        rerun, frame = self._rerun, sample.frame
        self._recording.set_time('frame', sequence=self._frames)
        self._recording.set_time('stamp', timestamp=np.datetime64(frame.stamp_ns, 'ns'))
        image = rerun.Image(cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB))
        self._log('image', image.compress(jpeg_quality=_QUALITY))
        self._log_detections('image/detections', result.detections)
        self._log_segmentation('image/segmentation', result.segmentation)
        self._log_depth('image/depth', result.depth)
        if sample.truth is not None:
            self._log_truth(sample.truth)
        self._frames += 1

    def _log(self, name: str, value: Any, static: bool = False) -> None:
        self._recording.log(f'camera/{name}', value, static=static)

    def _log_detections(self, name: str, found: Detections | None) -> None:
        if found is None:
            return
        labels = [found.labels[i] for i in found.class_ids]
        texts = [f'{label} {score:.2f}' for label, score in zip(labels, found.scores, strict=True)]
        self._log(name, self._boxes(found.boxes, texts, labels))

    def _boxes(self, boxes: Any, texts: list[str], labels: list[str]) -> Any:
        rerun = self._rerun
        return rerun.Boxes2D(
            array=boxes,
            array_format=rerun.Box2DFormat.XYXY,
            labels=texts,
            colors=[colour(label, 0)[::-1] for label in labels],
        )

    def _log_segmentation(self, name: str, found: Segmentation | None) -> None:
        if found is None:
            return
        if self._frames == 0:
            classes = [(i, n, colour(n, i)[::-1]) for i, n in enumerate(found.labels)]
            self._log(name, self._rerun.AnnotationContext(classes), static=True)
        self._log(name, self._rerun.SegmentationImage(found.class_ids))

    def _log_depth(self, name: str, found: DepthMap | None) -> None:
        if found is not None:
            self._log(name, self._rerun.DepthImage(np.nan_to_num(found.depth), meter=1.0))

    def _log_truth(self, truth: GroundTruth) -> None:
        objects = truth.objects
        if objects is not None:
            labels = [objects.labels[i] if i >= 0 else 'other' for i in objects.class_ids]
            self._log('image/truth/detections', self._boxes(objects.boxes, labels, labels))
        if truth.segmentation is not None:
            segmentation = Segmentation(truth.segmentation, truth.segmentation_labels)
            self._log_segmentation('image/truth/segmentation', segmentation)
        if truth.depth is not None:
            depth = self._rerun.DepthImage(np.nan_to_num(truth.depth), meter=1.0)
            self._log('image/truth/depth', depth)

    def __enter__(self) -> RerunFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._recording.flush()
        self._recording.disconnect()


def check_rerun_file(path: Path) -> None:
    """Check that a recording can be written.

    Raises:
        OutputError: The Rerun SDK is not installed, or the file exists and is not a recording.
    """
    if find_spec('rerun') is None:
        raise OutputError('--rerun needs the Rerun SDK: pip install rerun-sdk')
    try:
        with path.open('rb') as file:
            start = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f'cannot write {path}: {error.strerror}') from error
    if not start.startswith(_MAGIC) or _APPLICATION.encode() not in start:
        raise OutputError(
            f'{path} exists and is not a Rerun recording of mt_perception; choose another name'
        )
