# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Completed evaluations, read from their folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mt_perception.errors import SourceError
from mt_perception.evaluation.records import (
    FRAMES_FILE,
    SUMMARY_FILE,
    FrameRecord,
    Summary,
    read_frames,
    read_summary,
)

RECORDINGS = frozenset({'bag', 'video'})
"""Kinds of sources whose frames follow one another in time."""


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation.

    Attributes:
        folder: Its folder.
        summary: Its summary.
        frames: The record of every frame.
        name: Its name, if the model's name is ambiguous.
    """

    folder: Path
    summary: Summary
    frames: tuple[FrameRecord, ...]
    name: str = ''

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.summary.model.get('name', ''))

    @property
    def label(self) -> str:
        """A short name: the kinds of separate networks, with the point of a sweep."""
        if self.name:
            return self.name
        nets = self.summary.model.get('baseline') or ()
        name = ' + '.join(str(net['kind']) for net in nets) if len(nets) > 1 else self.model
        return f'{name} {self.point}'.strip()

    @property
    def point(self) -> str:
        """The point of a sweep, as ``size=320``; empty outside a sweep."""
        swept = self.summary.parameters.get('swept') or {}
        return ', '.join(f'{name}={value}' for name, value in swept.items())

    @property
    def data(self) -> str:
        """Hash of the frames, equal for runs on the same data."""
        return str(self.summary.data.get('sha256', ''))

    @property
    def is_recording(self) -> bool:
        """Whether its frames follow one another in time."""
        return self.summary.data.get('kind') in RECORDINGS


def read_run(folder: Path) -> Run:
    """Read one evaluation.

    Raises:
        SourceError: Its summary or a record cannot be read, or records are missing.
    """
    summary = read_summary(folder / SUMMARY_FILE)
    frames = tuple(read_frames(folder / FRAMES_FILE))
    counted = summary.counts.get('frames', len(frames))
    if not frames or counted != len(frames):
        raise SourceError(
            f'{folder / FRAMES_FILE} has {len(frames)} records, but {SUMMARY_FILE} counts '
            f'{counted}; remove it and evaluate again'
        )
    return Run(folder, summary, frames)


def read_runs(folder: Path) -> Iterator[Run]:
    """All completed evaluations in a folder and below, sorted by name.

    Raises:
        SourceError: There is none, or one cannot be read.
    """
    summaries = sorted(folder.rglob(SUMMARY_FILE))
    if not summaries:
        raise SourceError(
            f'{folder} has no completed evaluation (no {SUMMARY_FILE}); '
            'make one with: mt_perception evaluate SOURCE --out FOLDER'
        )
    for path in summaries:
        yield read_run(path.parent)
