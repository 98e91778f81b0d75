# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Measures latency from image to results over links of several bandwidths.

Frames run locally, are sent as JPEG files of the network's input, or as features. Host, protocol
and responses are equal; only the payload differs. Robot, link and host are processes on this
machine, each on its own core if there are enough. Without deadline and policy, every frame is sent
and its response awaited.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from mt_perception.errors import OffloadError, SourceError
from mt_perception.evaluation.inputs import input_state
from mt_perception.evaluation.job import Job, open_job
from mt_perception.evaluation.link.host_process import HostProcess
from mt_perception.evaluation.link.sender import PATIENCE_S, Sender, encoder
from mt_perception.evaluation.link.shaped_link import ShapedLink
from mt_perception.evaluation.link.study import LOCAL, LinkRow, LinkSettings, LinkStudy
from mt_perception.evaluation.machine import machine
from mt_perception.evaluation.predictor import model_sha256, open_predictor
from mt_perception.evaluation.rate_distortion import (
    RATE,
    REFERENCE,
    Codec,
    parse_codec,
    payload_bytes,
)
from mt_perception.execution.frame_run import Runner
from mt_perception.execution.options import Options
from mt_perception.model.manifest import Manifest
from mt_perception.offload.circuit_breaker import CircuitBreaker
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.inference_client import InferenceClient
from mt_perception.pipeline import Pipeline
from mt_perception.reports import Execution
from mt_perception.types import Frame

_MOST_RATES = 3


def measure(
    job: Job,
    settings: LinkSettings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> LinkStudy:
    """Measure frames of a job's source with its model.

    Args:
        job: Source and model.
        settings: Bandwidths, delay, frames and codecs.
        progress: Called after each combination of codec and link.

    Raises:
        PerceptionError: Source or model is not what it should be, or the host did not answer.
    """
    folder = Path(job.model)
    inputs = input_state(Path(job.source))
    frames, pipeline = _opened(job, settings.frames)
    manifest, local = pipeline.manifest, pipeline.runner
    codecs = tuple(map(parse_codec, settings.codecs)) or usual_codecs(manifest)
    encoders = {codec.name: encoder(folder, manifest, codec) for codec in codecs}
    total = 1 + len(settings.mbit_s) * len(codecs)
    done = itertools.count(1)
    _warm_up(pipeline, local, frames)
    rows = [_row(LOCAL, 0.0, pipeline, local, frames)]
    progress(next(done), total)
    with HostProcess(folder) as host:
        with _linked(host, manifest, 0.0, settings) as client:
            for encode in encoders.values():
                _warm_up(pipeline, Sender(client, pipeline, encode), frames)
        for mbit_s in settings.mbit_s:
            with _linked(host, manifest, mbit_s, settings) as client:
                for name, encode in encoders.items():
                    sender = Sender(client, pipeline, encode)
                    rows.append(_row(name, mbit_s, pipeline, sender, frames))
                    progress(next(done), total)
    pipeline.runner = local
    model = {'name': manifest.name, 'sha256': model_sha256(job.model)}
    name = job.name or job.source
    return LinkStudy(name, model, settings, machine(), tuple(rows), inputs)


def usual_codecs(manifest: Manifest) -> tuple[Codec, ...]:
    """A JPEG, and of the cut's rates the cheapest, the middle and the best one."""
    rates = 0 if manifest.cut is None else len(manifest.cut.rates)
    chosen = np.linspace(0, rates - 1, min(rates, _MOST_RATES)).round().astype(int).tolist()
    return (REFERENCE, *(Codec(RATE, rate) for rate in chosen))


def _opened(job: Job, count: int) -> tuple[list[Frame], Pipeline]:
    """The first frames of a source, and the model as a robot runs it."""
    options = replace(job.settings.options, score_threshold=Options().score_threshold)
    opened: list[Pipeline] = []
    predictor = open_predictor(job.model, replace(job.settings, options=options), opened.append)
    with open_job(job, predictor) as (samples, _):
        frames = [sample.frame for sample in itertools.islice(samples, count)]
    if not frames or not opened:
        raise SourceError(f'{job.source} with {job.model}: no image, or no model with a host')
    return frames, opened[0]


def _warm_up(pipeline: Pipeline, runner: Runner, frames: Sequence[Frame]) -> None:
    """The first frame of every size is slow: memory is taken for it. A camera has one size."""
    pipeline.runner = runner
    for frame in frames:
        pipeline.run(frame)


def _row(
    way: str, mbit_s: float, pipeline: Pipeline, runner: Runner, frames: Sequence[Frame]
) -> LinkRow:
    pipeline.runner = runner
    # A connection is warm where frames follow one another.
    runs = [pipeline.run(frame).execution for frame in (frames[0], *frames)][1:]
    total = [run.stage_ms['total'] for run in runs]
    return LinkRow(
        way,
        mbit_s,
        float(np.mean([payload_bytes(run) for run in runs])),
        float(np.median(total)),
        float(np.percentile(total, 95)),
        float(np.median([_host_ms(run) for run in runs])),
    )


def _host_ms(run: Execution) -> float:
    return 0.0 if run.offload is None else sum(run.offload.server_ms.values())


@contextmanager
def _linked(
    host: HostProcess, manifest: Manifest, mbit_s: float, settings: LinkSettings
) -> Iterator[InferenceClient]:
    """A client over a link, connected."""
    down = mbit_s if settings.down else 0
    with ShapedLink(host.address, mbit_s, down, settings.delay_ms) as link:
        client = InferenceClient(Endpoint(link.address), manifest.name, CircuitBreaker())
        try:
            if not client.wait_ready(PATIENCE_S):
                failure = client.last_failure
                raise OffloadError(failure.sentence if failure else 'the host does not answer')
            yield client
        finally:
            client.close()
