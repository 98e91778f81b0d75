# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Latency of frames over links of several bandwidths, as data and as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from mt_perception.data_files import read_json
from mt_perception.errors import OutputError, SourceError
from mt_perception.evaluation.inputs import differences, input_state
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.output import write_text
from mt_perception.evaluation.predictor import model_sha256
from mt_perception.evaluation.records import Json, to_json

LINK_FILE = 'link.json'
FORMAT = 1
LOCAL = 'local'
DELAY_MS = 5.0

_FRAMES = 9


@dataclass(frozen=True)
class LinkSettings:
    """Settings of a measurement over links.

    Attributes:
        mbit_s: Bandwidths.
        delay_ms: Of the link, one way.
        down: Whether the way back is as narrow; else it is not limited.
        frames: How many frames of the source.
        codecs: How frames are sent; none is a JPEG and up to three of the cut's rates.
    """

    mbit_s: tuple[float, ...]
    delay_ms: float = DELAY_MS
    down: bool = True
    frames: int = _FRAMES
    codecs: tuple[str, ...] = ()


@dataclass(frozen=True)
class LinkRow:
    """Frames that went one way over one link.

    Attributes:
        way: ``local``, or the codec that they were sent by.
        mbit_s: Bandwidth; 0 where nothing was sent.
        payload_bytes: Mean over the frames.
        p50_ms: Median from image to results.
        p95_ms: 95th percentile.
        host_ms: Median of the time at the host.
    """

    way: str
    mbit_s: float
    payload_bytes: float
    p50_ms: float
    p95_ms: float
    host_ms: float


@dataclass(frozen=True)
class LinkStudy:
    """The measurements on one source with one model.

    Attributes:
        source: Name of the source.
        model: ``name`` and ``sha256`` of the model.
        settings: What was measured.
        machine: What it ran on.
        rows: The figures.
        inputs: State of the source's files; empty in studies of earlier versions.
    """

    source: str
    model: Mapping[str, str]
    settings: LinkSettings
    machine: Mapping[str, Json]
    rows: tuple[LinkRow, ...]
    inputs: str = ''

    def find(self, way: str) -> tuple[LinkRow, ...]:
        """The figures of one way, the narrowest link first."""
        return tuple(sorted((r for r in self.rows if r.way == way), key=lambda r: r.mbit_s))

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways that were measured, in their order."""
        return tuple(dict.fromkeys(row.way for row in self.rows))


def write_study(path: Path, study: LinkStudy) -> None:
    """Write it as JSON.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(path, json.dumps(to_json({'format': FORMAT, **asdict(study)}), indent=1) + '\n')


def read_study(path: Path) -> LinkStudy:
    """Read a study.

    Raises:
        SourceError: It cannot be read, or is of another version.
    """
    try:
        data = read_json(path, SourceError)
        if data.pop('format') != FORMAT:
            raise SourceError(f'{path} is of another version; measure again with --fresh')
        given = data['settings']
        settings = LinkSettings(
            **{**given, 'mbit_s': tuple(given['mbit_s']), 'codecs': tuple(given['codecs'])}
        )
        rows = tuple(LinkRow(**row) for row in data['rows'])
        return LinkStudy(**{**data, 'settings': settings, 'rows': rows})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(f'{path} is no study of a link: {error}') from error


def kept_study(path: Path, job: Job, settings: LinkSettings) -> LinkStudy | None:
    """An earlier study of the same; None if there is none that can be read.

    Raises:
        OutputError: There is a study of something else.
    """
    try:
        study = read_study(path)
    except SourceError:
        return None
    changed = differences(to_json(asdict(study.settings)), to_json(asdict(settings)))
    if study.model['sha256'] != model_sha256(job.model):
        changed.append(f'the content of the model {job.model}')
    if study.inputs not in ('', input_state(Path(job.source))):
        changed.append(f'the content of {job.source}')
    if changed:
        raise OutputError(
            f'{path} holds measurements that differ in {", ".join(changed)}; to keep them, choose '
            'another --out; to measure again and replace them, add --fresh'
        )
    return study
