# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reports on one frame: execution, cost, budget, reuse and offloading."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import median
from typing import TypeAlias

Value = str | int | float | bool
"""One value of a report, for statistics and records."""


@dataclass(frozen=True)
class BudgetReport:
    """The compute budget and its use.

    Attributes:
        compute: Wanted fraction of the multiply-accumulates of the full path.
        realised: Realised fraction over the last frames, this one included.
    """

    compute: float
    realised: float


@dataclass(frozen=True)
class ReuseReport:
    """Results of earlier frames that serve this frame.

    Attributes:
        change: Largest change since the earlier results, in grey levels.
        tasks: The tasks with a reused result, separated by spaces; None if all were run.
        age_ms: Age of the oldest reused result; None if all were run.
    """

    change: float
    tasks: str | None = None
    age_ms: float | None = None


@dataclass(frozen=True)
class OffloadReport:
    """The place where a frame was finished, and the state of the link.

    Attributes:
        remote: True if the remote host finished the frame.
        reason: Why the frame was sent, or was not.
        breaker: State of the circuit breaker.
        failure_rate: Share of requests that failed lately.
        round_trip_ms: Estimated round-trip time of the link.
        mbit_s: Estimated bandwidth of the link in Mbit/s.
        rate: Index of the codec's rate.
        payload_bytes: Size of the payload in bytes.
        requests: Requests that were sent: more than one if the first was late or failed.
        endpoint: Address of the host that finished the frame.
        local_run: True if the frame was run locally as well, because the reply was late.
        failure: Why there was no reply.
        encode_ms: Time to encode the payload.
        reply_ms: Time from sending to the reply.
        server_ms: Stage on the host → its time.
    """

    remote: bool
    reason: str
    breaker: str | None = None
    failure_rate: float | None = None
    round_trip_ms: float | None = None
    mbit_s: float | None = None
    rate: int | None = None
    payload_bytes: int | None = None
    requests: int | None = None
    endpoint: str | None = None
    local_run: bool | None = None
    failure: str | None = None
    encode_ms: float | None = None
    reply_ms: float | None = None
    server_ms: Mapping[str, float] = field(default_factory=dict)


CAMERA_UNKNOWN = 'camera unknown'
RELATIVE = 'relative'
NETWORK = 'network'
GROUND = 'ground'
CALIBRATION = 'calibration'
BOTH = 'both'


@dataclass(frozen=True)
class ScaleReport:
    """Source and uncertainty of the scale of a depth map.

    1 / depth = 1 / (factor · (depth of the network)^exponent) + shift.

    Attributes:
        source: ``camera unknown`` (a typical lens was assumed), ``relative`` (there is no unit),
            ``network``, ``ground``, ``calibration``, or ``both``: calibration, then ground.
        factor: Factor on the depth of the network; of the ground, its geometric mean over the
            image.
        shift: Added to its inverse, in 1/m.
        spread: Relative standard deviation of the scale; None if it was not measured.
        ground_share: Share of the image in which the ground was measured.
        age_ms: Time since that measurement.
        refused: Why the wanted source is not used, or was not measured in this frame.
        exponent: Power of the depth of the network.
    """

    source: str = NETWORK
    factor: float = 1.0
    shift: float = 0.0
    spread: float | None = None
    ground_share: float | None = None
    age_ms: float | None = None
    refused: str | None = None
    exponent: float = 1.0

    @property
    def is_measured(self) -> bool:
        """Whether ground or calibration gave the scale, or were refused."""
        return self.source in (GROUND, CALIBRATION, BOTH) or self.refused is not None

    def words(self) -> str:
        """Return source and uncertainty for a picture, for example 'scale: ground +-8 %'."""
        if self.source == CAMERA_UNKNOWN:
            return 'camera unknown: scale is a guess'
        if self.source == RELATIVE:
            return 'relative depth: no unit'
        name = 'calibration and ground' if self.source == BOTH else self.source
        sure = '' if self.spread is None else f' +-{100 * self.spread:.0f} %'
        return f'scale: {name}{sure}'


def scale_sentence(scales: Sequence[ScaleReport]) -> str:
    """A sentence on the sources of the scale of depth, their spread, and refused sources."""
    parts = []
    for source, count in Counter(one.source for one in scales).most_common():
        spreads = [s.spread for s in scales if s.source == source and s.spread is not None]
        sure = f' (+-{100 * median(spreads):.0f} %)' if spreads else ''
        parts.append(f'{source} in {count} of {len(scales)} frames{sure}')
    # Without the figures of single frames, so that equal reasons are counted together.
    reasons = Counter(
        re.sub(r'\d+(\.\d+)?', '…', one.refused) for one in scales if one.refused is not None
    )
    why = ''.join(f'; {count} times: {text}' for text, count in reasons.most_common(1))
    return f'the scale of depth is from: {", ".join(parts)}{why}'


_Report: TypeAlias = 'BudgetReport | ReuseReport | OffloadReport | ScaleReport'
_REPORTS: Mapping[str, type[_Report]] = {
    'budget': BudgetReport,
    'reuse': ReuseReport,
    'depth_scale': ScaleReport,
    'offload': OffloadReport,
}
_NOT_DUE, _SECOND_STAGE = 'policy.not_due', 'policy.second_stage'
_SKIPPED, _SERVER_MS = 'conditions.skipped', 'offload.server_ms.'
_DIGITS = 3


@dataclass(frozen=True)
class Execution:
    """The executed tasks and blocks of one frame, and their cost.

    Attributes:
        tasks: The tasks that were served: wanted, due, and not skipped by a condition.
        blocks: The blocks that ran on this machine, in order.
        path: Name of the path through the graph; ``full`` skips nothing.
        reason: Why this plan was made.
        macs: Multiply-accumulates of the blocks that ran, at this frame's network size.
        network_size: (height, width) of the network's input in pixels.
        stage_ms: Wall time of the stages ``plan``, ``preprocess``, ``inference``,
            ``postprocess`` and ``total``.
        block_ms: Block → wall time, in the order in which they ran.
        loaded_bytes: Bytes of weights that were loaded, under a memory budget.
        skipped: Tasks whose condition was false.
        not_due: Tasks that wait for their rate.
        second_stage: Tasks whose gate opened after the first stage; None without gates.
        budget: The compute budget; None without one.
        reuse: Reuse of earlier results; None where reuse was not considered.
        depth_scale: Source of the scale of depth; None without a depth map.
        offload: Offloading; None without a remote host.
    """

    tasks: tuple[str, ...]
    blocks: tuple[str, ...]
    path: str
    reason: str
    macs: int
    network_size: tuple[int, int]
    stage_ms: Mapping[str, float]
    block_ms: Mapping[str, float] = field(default_factory=dict)
    loaded_bytes: int = 0
    skipped: tuple[str, ...] = ()
    not_due: tuple[str, ...] = ()
    second_stage: tuple[str, ...] | None = None
    budget: BudgetReport | None = None
    reuse: ReuseReport | None = None
    depth_scale: ScaleReport | None = None
    offload: OffloadReport | None = None

    def values(self) -> dict[str, Value]:
        """Return the reports as flat values by dotted name, for statistics and records."""
        found: dict[str, Value] = {}
        for name in _REPORTS:
            report = getattr(self, name)
            if report is None:
                continue
            for one in fields(report):
                value = getattr(report, one.name)
                if isinstance(value, Mapping):
                    found |= {f'{name}.{one.name}.{key}': item for key, item in value.items()}
                elif value is not None:
                    rounded = round(value, _DIGITS) if isinstance(value, float) else value
                    found[f'{name}.{one.name}'] = rounded
        if self.not_due:
            found[_NOT_DUE] = ' '.join(self.not_due)
        if self.second_stage is not None:
            found[_SECOND_STAGE] = ' '.join(self.second_stage)
        if self.skipped:
            found[_SKIPPED] = ', '.join(self.skipped)
        return found

    def with_values(self, values: Mapping[str, Value]) -> Execution:
        """Return a copy with the reports that ``values()`` of another execution returned."""
        reports: dict[str, _Report] = {}
        for name, kind in _REPORTS.items():
            given = {f.name: values[f'{name}.{f.name}'] for f in fields(kind)
                     if f'{name}.{f.name}' in values}  # fmt: skip
            if not given:
                continue
            extra: dict[str, object] = {}
            if kind is OffloadReport:
                extra['server_ms'] = {
                    key.removeprefix(_SERVER_MS): value
                    for key, value in values.items()
                    if key.startswith(_SERVER_MS)
                }
            reports[name] = kind(**given, **extra)  # type: ignore[arg-type]
        return replace(
            self,
            not_due=tuple(str(values.get(_NOT_DUE, '')).split()),
            second_stage=tuple(str(values[_SECOND_STAGE]).split())
            if _SECOND_STAGE in values
            else None,
            skipped=tuple(filter(None, str(values.get(_SKIPPED, '')).split(', '))),
            **reports,  # type: ignore[arg-type]
        )
