# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compares two runs by a paired bootstrap over frames: better, worse or noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError
from mt_perception.evaluation.metrics.cost import CostMetric
from mt_perception.evaluation.metrics.delta_mtl import DeltaMtl, delta_mtl
from mt_perception.evaluation.metrics.depth import DepthMetric
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.evaluation.metrics.stability import StabilityMetric
from mt_perception.evaluation.records import FrameRecord, Json, to_json
from mt_perception.evaluation.runs import Run
from mt_perception.evaluation.shared_classes import restrict_record, shared_labels

BETTER, WORSE, EQUAL, NOISE = 'better', 'worse', 'equal', 'noise'

RESAMPLES = 1000
CONFIDENCE = 0.95
BLOCK_S = 1.0
"""Frames of a recording within this time are drawn together, because they are nearly the same."""

EXACT = frozenset({'macs'})
"""Metrics that are counted, not sampled: any difference is one, and needs no interval."""

FEW_UNITS = 20
"""With fewer independent units, bootstrap intervals are too narrow."""

_BATCH = 50


class Resampled(Protocol):
    """A metric that a comparison can resample."""

    name: str
    headline: Mapping[str, bool]

    def add(self, record: FrameRecord) -> None:
        """Add a frame from its record."""

    def resample(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.float64]]:
        """The headline metrics of B resamples of the F frames.

        Args:
            weights: (B, F), the number of times that each frame is drawn.

        Returns:
            Name → (B,), NaN where a resample has nothing to measure.
        """


@dataclass(frozen=True)
class Change:
    """One metric of two runs.

    Attributes:
        metric: Group of metrics, such as ``detection``.
        name: Name of the metric in the group.
        higher_is_better: Whether a higher value is better.
        a: Value of the first run.
        b: Value of the second run.
        low: Lower end of the 95 % confidence interval of b − a; b − a itself if it is exact.
        high: Its upper end.
        verdict: ``better`` or ``worse`` if the interval excludes 0, ``equal`` if an exact
            difference is 0, else ``noise``.
    """

    metric: str
    name: str
    higher_is_better: bool
    a: float
    b: float
    low: float
    high: float
    verdict: str

    @property
    def is_exact(self) -> bool:
        """Whether the values are counted, so that the difference has no interval."""
        return self.name in EXACT


METRICS: tuple[type[Resampled], ...] = (
    *(DetectionMetric, SegmentationMetric, DepthMetric, StabilityMetric, CostMetric),
)
"""The metrics that are compared."""


@dataclass(frozen=True)
class Comparison:
    """Two runs on the same data.

    Attributes:
        source: Name of the source.
        a: Short name of the first run.
        b: Short name of the second run.
        frames: Number of frames.
        units: Number of units that are drawn: frames, or seconds of a recording.
        resamples: Number of bootstrap resamples.
        seed: Seed of the draw; the same seed gives the same intervals.
        changes: The metrics that both runs have.
        delta_mtl: Mean relative gain of the second run over the first, over the tasks with metrics
            in both; None if there is none.
        notes: Limits of the comparison, one sentence each.
    """

    source: str
    a: str
    b: str
    frames: int
    units: int
    resamples: int
    seed: int
    changes: tuple[Change, ...]
    delta_mtl: DeltaMtl | None
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Plain data for a file; an interval without bounds has None."""
        plain: dict[str, Json] = to_json(asdict(self))
        return plain


def pair_runs(a: Sequence[Run], b: Sequence[Run]) -> list[tuple[Run, Run]]:
    """Pairs of runs on the same images.

    Raises:
        SourceError: There are none, or a run has several candidates.
    """
    pairs = []
    for one in a:
        partners = [other for other in b if other.data == one.data]
        if len(partners) > 1:
            raise SourceError(
                f'{one.folder} could be compared with {len(partners)} runs on the same data: '
                f'{", ".join(str(each.folder) for each in partners)}; name one of them'
            )
        pairs += [(one, other) for other in partners]
    if not pairs:
        sides = (
            ', '.join(f'{run.summary.source} ({run.data[:12]})' for run in side) for side in (a, b)
        )
        raise SourceError(
            f'the runs have different data: {" and ".join(sides)}; a comparison needs the same '
            'frames: evaluate both models on one source with the same options'
        )
    return pairs


def compare_runs(a: Run, b: Run, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare all metrics that two runs on the same frames have.

    Frames are drawn with replacement, the same for both runs, so that the difficulty of frames
    cancels out. The interval holds the middle 95 % of the differences (Efron's percentile
    interval). Frames of a recording are drawn by the second; one second alone, or one image, has
    no interval, and every difference is noise but those of MACs, which are exact.

    Args:
        a: The baseline run.
        b: The run to compare with it.
        resamples: Number of resamples.
        seed: Seed of the draw.

    Raises:
        SourceError: The runs have different frames or different ground truth.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import cv2, numpy as np
        >>> from mt_perception.evaluation.comparison import compare_runs
        >>> from mt_perception.evaluation.job import Job, run_job
        >>> from mt_perception.evaluation.runs import read_run
        >>> from mt_perception.resources import find_model
        >>> folder, model = Path(tempfile.mkdtemp()), str(find_model('cspnano'))
        >>> _ = cv2.imwrite(str(folder / 'a.png'), np.zeros((240, 320, 3), np.uint8))
        >>> _ = run_job(Job(str(folder), model, folder / 'out', reference=model))
        >>> run = read_run(folder / 'out')
        >>> sorted({change.verdict for change in compare_runs(run, run, resamples=20).changes})
        ['equal', 'noise']
    """
    _check_same(a, b)
    shared = shared_labels([a.summary, b.summary])
    records = [[restrict_record(record, shared) for record in run.frames] for run in (a, b)]
    notes = [
        f'{task}: on the {len(labels)} classes that both models have'
        for task, labels in shared.items()
    ]
    units = _units(a)
    notes += _unit_notes(units)
    changes: list[Change] = []
    for kind in METRICS:
        first, second = (_measured(kind, frames) for frames in records)
        changes += _changes(first, second, units, resamples, seed)
    if any(change.name == 'latency_ms' for change in changes):
        notes.append('latency: the load of the machine may differ between the runs')
    return Comparison(
        source=a.summary.source,
        a=a.label,
        b=b.label,
        frames=len(a.frames),
        units=int(units.max()) + 1,
        resamples=resamples,
        seed=seed,
        changes=tuple(changes),
        delta_mtl=_delta_mtl(changes, a.label),
        notes=tuple(notes),
    )


def _check_same(a: Run, b: Run) -> None:
    if a.data != b.data or [f.key for f in a.frames] != [f.key for f in b.frames]:
        raise SourceError(
            f'{a.folder} and {b.folder} have different data: {a.summary.source} with '
            f'{len(a.frames)} frames ({a.data[:12]}) and {b.summary.source} with '
            f'{len(b.frames)} frames ({b.data[:12]}); evaluate both models on one source with '
            'the same options'
        )
    truths = [run.summary.data.get('pseudo') or 'annotations' for run in (a, b)]
    if truths[0] != truths[1]:
        raise SourceError(
            f'the ground truth of {a.folder} is from {truths[0]}, that of {b.folder} from '
            f'{truths[1]}; evaluate both with the same --reference or without one'
        )


def _units(run: Run) -> NDArray[np.intp]:
    """The unit that each frame belongs to, (F,): itself, or a second of a recording."""
    count = len(run.frames)
    if not run.is_recording:
        return np.arange(count)
    stamps = np.array([record.stamp_ns for record in run.frames], np.int64)
    seconds = (stamps - stamps.min()) // round(BLOCK_S * 1e9)
    return np.asarray(np.unique(seconds, return_inverse=True)[1], np.intp).reshape(-1)


def _unit_notes(units: NDArray[np.intp]) -> list[str]:
    count = int(units.max()) + 1
    if count == 1:
        return [
            'one image or second has no interval and no verdict, except for MACs; compare on more '
            'data'
        ]
    if count < FEW_UNITS:
        return [
            f'only {count} independent units: the intervals are too narrow; compare on more data'
        ]
    return []


def _measured(kind: type[Resampled], frames: Iterable[FrameRecord]) -> Resampled:
    metric = kind()
    for record in frames:
        metric.add(record)
    return metric


def _changes(
    first: Resampled, second: Resampled, units: NDArray[np.intp], resamples: int, seed: int
) -> list[Change]:
    once = np.ones((1, len(units)))
    values = first.resample(once), second.resample(once)
    names = [
        name
        for name in first.headline
        if all(name in side and np.isfinite(side[name][0]) for side in values)
    ]
    if not names:
        return []
    differences: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for weights in _draws(units, resamples, seed):
        drawn = first.resample(weights), second.resample(weights)
        for name in names:
            differences[name].append(drawn[1][name] - drawn[0][name])
    return [
        _change(
            first,
            name,
            (values[0][name][0], values[1][name][0]),
            np.hstack(found),
            one_unit=not units.any(),
        )
        for name, found in differences.items()
    ]


def _delta_mtl(changes: Sequence[Change], baseline: str) -> DeltaMtl | None:
    """Δ_MTL of the second run against the first, from the compared metrics."""
    sides: tuple[dict[str, dict[str, Json]], ...] = ({}, {})
    for change in changes:
        for side, value in zip(sides, (change.a, change.b), strict=True):
            group = side.setdefault(change.metric, {})
            *keys, last = change.name.split('.')
            for key in keys:
                group = group.setdefault(key, {})
            group[last] = value
    return delta_mtl(sides[1], sides[0], baseline)


def _draws(units: NDArray[np.intp], resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Number of times each frame is drawn, (≤ 50, F) at a time; equal for all metrics."""
    random = np.random.default_rng(seed)
    count = int(units.max()) + 1
    for start in range(0, resamples, _BATCH):
        rows = min(_BATCH, resamples - start)
        drawn = random.multinomial(count, np.full(count, 1 / count), rows)
        yield drawn[:, units].astype(np.float64)


def _change(
    metric: Resampled,
    name: str,
    values: tuple[float, float],
    found: NDArray[np.float64],
    one_unit: bool,
) -> Change:
    outside = (1 - CONFIDENCE) / 2
    if name in EXACT:
        low = high = values[1] - values[0]
    elif one_unit:
        # Resamples of one unit are all equal: they bound nothing.
        low, high = -np.inf, np.inf
    else:
        low, high = np.nanquantile(found, [outside, 1 - outside])
    up = metric.headline[name]
    verdict = EQUAL if name in EXACT else NOISE
    if low > 0 or high < 0:
        verdict = BETTER if (low > 0) == up else WORSE
    return Change(
        metric.name, name, up, float(values[0]), float(values[1]),
        float(low), float(high), verdict,
    )  # fmt: skip
