# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of compressed frames: features beside a JPEG of equal size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from mt_perception.errors import PerceptionError
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.job import Job, open_job
from mt_perception.evaluation.predictor import Predictor, open_predictor
from mt_perception.evaluation.rate_distortion import (
    IMAGE,
    RATE,
    Codec,
    CodecRunner,
    jpeg_of,
    parse_codec,
    payload_bytes,
    through,
)
from mt_perception.evaluation.report.frame_pictures import (
    TYPICAL,
    Pictures,
    Shown,
    as_shown,
    choose,
    montage,
    result_row,
)
from mt_perception.evaluation.report.offload import title_of
from mt_perception.evaluation.runs import Run
from mt_perception.image.letterbox import fit
from mt_perception.image.overlay import Picture
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame, Result

MOST_RATES = 3


@dataclass(frozen=True)
class _Coded:
    """A frame's results behind a codec, and how many bytes they had on their way."""

    codec: Codec
    size: int
    result: Result


def draw_compressed(group: Sequence[tuple[Job, Run]], each: int) -> Pictures:
    """Pictures of typical frames at some rates of a sweep over codecs.

    Args:
        group: The jobs on one source and what became of them.
        each: How many frames.
    """
    jobs = {parse_codec(j.settings.codec): (j, run) for j, run in group if j.settings.codec}
    rates = [codec for codec in jobs if codec.kind == RATE]
    if not rates or not each:
        return Pictures()
    picks = np.linspace(0, len(rates) - 1, min(MOST_RATES, len(rates))).round().astype(int)
    job, run = jobs.get(Codec(IMAGE), jobs[rates[-1]])
    chosen = choose(run.frames, each)
    kinds = [key for key, kind in chosen.items() if kind == TYPICAL] or list(chosen)
    keys = set(kinds[:each])
    shown: list[Shown] = []
    try:
        predictor, runner = _opened(job)
        with open_job(job, predictor) as (samples, _):
            for sample in samples:
                if sample.key in keys:
                    shown += _frame(sample, predictor, runner, [rates[i] for i in picks])
                    keys.remove(sample.key)
                if not keys:
                    break
    except PerceptionError as error:
        return Pictures(warning=f'There are no pictures of compressed frames: {error}')
    return Pictures(compressed=tuple(shown))


def _opened(job: Job) -> tuple[Predictor, CodecRunner]:
    """The model of a job, with a codec that can be changed from frame to frame."""
    runners: list[CodecRunner] = []

    def prepare(pipeline: Pipeline) -> None:
        runners.append(through(pipeline, Path(job.model), Codec(IMAGE)))

    predictor = open_predictor(job.model, replace(job.settings, codec=''), prepare)
    return predictor, runners[0]


def _frame(
    sample: Sample, predictor: Predictor, runner: CodecRunner, rates: Sequence[Codec]
) -> list[Shown]:
    """One frame without loss, and then at every rate below a JPEG of as many bytes."""
    whole = _run(sample.frame, predictor, runner, Codec(IMAGE))
    image = runner.image
    shown = [as_shown('no loss', sample.key, 'ground truth above', montage(sample, whole.result))]
    for rate in rates:
        features = _run(sample.frame, predictor, runner, rate)
        jpeg = _run(sample.frame, predictor, runner, jpeg_of(image, features.size))
        decoded = _content(runner.image, sample.frame)
        picture = np.vstack(
            [result_row(jpeg.result, decoded), result_row(features.result, sample.frame.image)]
        )
        words = ', '.join(f'{title_of(c.codec)}: {c.size * 1e-3:.1f} kB' for c in (jpeg, features))
        shown.append(as_shown(rate.name, sample.key, words, picture))
    return shown


def _run(frame: Frame, predictor: Predictor, runner: CodecRunner, codec: Codec) -> _Coded:
    runner.codec = codec
    result = predictor.run(frame)
    return _Coded(codec, payload_bytes(result.execution), result)


def _content(given: Picture, frame: Frame) -> Picture:
    """The input of the network without padding, at the size of the frame."""
    height, width = frame.image.shape[:2]
    box = fit((height, width), max(given.shape[1:3]), 1)
    rows, columns = box.content_size
    content = given[0, :rows, :columns]
    large = cv2.resize(content, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(large, np.uint8)
