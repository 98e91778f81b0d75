# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Multi-object tracker: gives detections an identity that survives occlusion and missed frames.

Association follows ByteTrack (Zhang et al., ECCV 2022, arXiv 2110.06864): confident detections
first, then the uncertain ones, which often are occluded objects. Tracks that remain are compared
by their last measured box, as in OC-SORT (Cao et al., CVPR 2023, arXiv 2203.14360).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mt_perception.tracking.assignment import assign, box_iou
from mt_perception.tracking.kalman_filter import BoxStates, new_states
from mt_perception.types import Detections

NO_TRACK = -1
"""Identity of a detection without a track."""
_MIN_IOU_UNCERTAIN = 0.5
"""Smallest IoU of an uncertain detection with a predicted track."""


@dataclass(frozen=True)
class TrackerOptions:
    """Settings of a tracker.

    Attributes:
        min_score: Detections below this score start no track and are associated last.
        min_iou: Smallest IoU of a confident detection with a predicted track.
        max_age_ms: A track without a detection for longer than this ends.
    """

    min_score: float = 0.35
    min_iou: float = 0.2
    max_age_ms: float = 1000.0


@dataclass(eq=False)
class _Tracks:
    """Parallel arrays of the tracks."""

    states: BoxStates = field(default_factory=lambda: new_states(np.zeros((0, 4), np.float32)))
    ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    class_ids: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    measured: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    seen_ns: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def kept(self, index: NDArray[np.bool_]) -> _Tracks:
        """Return the tracks of a mask."""
        return _Tracks(
            self.states[index],
            self.ids[index],
            self.class_ids[index],
            self.measured[index],
            self.seen_ns[index],
        )


class Tracker:
    """Tracks the detections of one camera.

    Args:
        options: Settings.
    """

    def __init__(self, options: TrackerOptions | None = None) -> None:
        self.options = options or TrackerOptions()
        self._tracks = _Tracks()
        self._next_id = 1
        self._now_ns = 0

    def update(self, found: Detections, stamp_ns: int) -> NDArray[np.int64]:
        """Associate detections with the tracks.

        Args:
            found: Detections of one frame, uncertain ones among them.
            stamp_ns: Stamp of the frame. A stamp before the last one (a bag that starts again)
                ends every track; identities are never used twice.

        Returns:
            int64 (N,): the identity of each detection, ``NO_TRACK`` for an uncertain detection
            of no track.
        """
        self._advance(stamp_ns)
        tracks = self._tracks
        identity = np.full(len(found), NO_TRACK, np.int64)
        free = np.ones(len(tracks.ids), bool)
        predicted = tracks.states.boxes
        sure = found.scores >= self.options.min_score
        # Only a track that was seen on the last frames is taken up by an uncertain detection.
        recent = tracks.seen_ns >= self._previous_seen_ns()
        matched: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
        for boxes, candidates, eligible, minimum in (
            (predicted, sure, free, self.options.min_iou),
            (predicted, ~sure, recent, _MIN_IOU_UNCERTAIN),
            (tracks.measured, sure, free, self.options.min_iou),
        ):
            rows = np.flatnonzero(eligible & free)
            columns = np.flatnonzero(candidates & (identity == NO_TRACK)) if len(rows) else rows
            if not len(columns):
                continue
            same = tracks.class_ids[rows][:, None] == found.class_ids[columns][None]
            i, j = assign(box_iou(boxes[rows], found.boxes[columns]) * same, minimum)
            i, j = rows[i], columns[j]
            identity[j] = tracks.ids[i]
            free[i] = False
            matched.append((i, j))
        if matched:
            i, j = map(np.concatenate, zip(*matched, strict=True))
            self._measure(i, found.boxes[j], stamp_ns)
        self._begin(found, identity, sure & (identity == NO_TRACK), stamp_ns)
        return identity

    def _advance(self, stamp_ns: int) -> None:
        """Predict the tracks for a time, and end those that were not seen for too long."""
        if stamp_ns < self._now_ns:
            self._tracks = _Tracks()
        tracks = self._tracks
        alive = stamp_ns - tracks.seen_ns <= self.options.max_age_ms * 1e6
        if not alive.all():
            tracks = tracks.kept(alive)
        if len(tracks.ids):
            tracks.states = tracks.states.predicted((stamp_ns - self._now_ns) * 1e-9)
        self._tracks, self._now_ns = tracks, stamp_ns

    def _previous_seen_ns(self) -> int:
        return int(self._tracks.seen_ns.max(initial=0))

    def _measure(self, rows: NDArray[np.intp], boxes: NDArray[np.float32], stamp_ns: int) -> None:
        """Update the tracks that have a detection."""
        tracks = self._tracks
        updated = tracks.states[rows].updated(boxes)
        tracks.states.mean[rows] = updated.mean
        tracks.states.covariance[rows] = updated.covariance
        tracks.measured[rows] = boxes
        tracks.seen_ns[rows] = stamp_ns

    def _begin(
        self,
        found: Detections,
        identity: NDArray[np.int64],
        new: NDArray[np.bool_],
        stamp_ns: int,
    ) -> None:
        """Begin a track for each confident detection without one; write its identity."""
        count = int(new.sum())
        if not count:
            return
        ids = np.arange(self._next_id, self._next_id + count, dtype=np.int64)
        self._next_id += count
        identity[new] = ids
        tracks = self._tracks
        self._tracks = _Tracks(
            tracks.states.joined(new_states(found.boxes[new])),
            np.concatenate([tracks.ids, ids]),
            np.concatenate([tracks.class_ids, found.class_ids[new]]),
            np.concatenate([tracks.measured, found.boxes[new]]),
            np.concatenate([tracks.seen_ns, np.full(count, stamp_ns, np.int64)]),
        )
