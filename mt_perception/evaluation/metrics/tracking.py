# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of identities over time: HOTA and IDF1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.frame_record import frame_record
from mt_perception.evaluation.metrics.matching import box_overlaps
from mt_perception.evaluation.records import FrameRecord, Json
from mt_perception.tracking.assignment import assign
from mt_perception.tracking.tracker import NO_TRACK
from mt_perception.types import Result

OVERLAPS: NDArray[np.float64] = np.arange(0.05, 0.99, 0.05)
"""IoU thresholds (alpha) that HOTA is averaged over."""

IDENTITY_OVERLAP = 0.5
"""Smallest IoU at which a detection and an object count for IDF1."""

_TOLERANCE = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, eq=False)
class TrackedFrame:
    """Objects and detections of one frame.

    Attributes:
        true_ids: int64 (N,), identities of the objects.
        ids: int64 (M,), identities of the detections.
        overlaps: float64 (N, M), IoU; 0 between classes.
        labels: Class names of the objects.
        found_labels: Class names of the detections.
    """

    true_ids: NDArray[np.int64]
    ids: NDArray[np.int64]
    overlaps: NDArray[np.float64]
    labels: NDArray[np.object_]
    found_labels: NDArray[np.object_]

    def of_class(self, label: str) -> TrackedFrame:
        """The objects and detections of one class."""
        rows, columns = self.labels == label, self.found_labels == label
        return TrackedFrame(
            self.true_ids[rows],
            self.ids[columns],
            self.overlaps[np.ix_(rows, columns)],
            self.labels[rows],
            self.found_labels[columns],
        )


class TrackingMetric:
    """HOTA and IDF1 of one recording.

    At a threshold α, detections and objects of a frame are matched one to one. With the matches
    TP, the other detections FP and the other objects FN, and for a match c the frames TPA(c)
    in which the same two identities match, and FPA(c) and FNA(c) in which only one of them does,

        HOTA_α = √(DetA_α · AssA_α),  DetA_α = |TP| / (|TP| + |FN| + |FP|),
        AssA_α = mean over c in TP of |TPA(c)| / (|TPA(c)| + |FNA(c)| + |FPA(c)|)

    (Luiten et al., IJCV 2021, arXiv 2009.07736, eq. 10, 13, 15.) ``hota``, ``det_a``, ``ass_a``
    and ``loc_a`` (mean IoU of the matches) are means over α in {0.05, 0.10 … 0.95}.

    ``idf1`` is the F1 score of detections under the best one-to-one assignment of whole tracks
    to whole true tracks, at an IoU of 0.5 (Ristani et al., arXiv 1609.01775).

    A detection matches an object of its class only. Counted are detections with a track, of
    classes that are annotated exhaustively. Those that no object matches and that lie by half
    in a region to ignore do not count.
    """

    name = 'tracking'

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._frames: list[TrackedFrame] = []

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Add one frame; empty without true tracks or without tracking.

        Returns:
            The number of true ``objects``, and of those ``found`` by a tracked detection at an
            IoU of 0.5.
        """
        objects = None if sample.truth is None else sample.truth.objects
        if objects is None or objects.track_ids is None:
            return {}
        record = frame_record(sample.frame, result, key='', source='', truth=sample.truth)
        return self._observe(record)

    def add(self, record: FrameRecord) -> None:
        """Add a frame from its record."""
        self._observe(record)

    def _observe(self, record: FrameRecord) -> Mapping[str, Json]:
        frame = tracked_frame(record)
        if frame is None:
            return {}
        self._frames.append(frame)
        rows, _ = assign(frame.overlaps, IDENTITY_OVERLAP)
        return {'objects': len(frame.true_ids), 'found': len(rows)}

    def evaluate(self) -> Mapping[str, Json]:
        """The metrics over all frames together, and by class; empty without true tracks."""
        if not self._frames:
            return {}
        labels = sorted({str(label) for frame in self._frames for label in frame.labels})
        by_class = {label: [each.of_class(label) for each in self._frames] for label in labels}
        return {
            **track_metrics(self._frames),
            'frames': len(self._frames),
            'classes': {label: track_metrics(frames) for label, frames in by_class.items()},
        }


def tracked_frame(record: FrameRecord) -> TrackedFrame | None:
    """The identities of a frame; None without true tracks or without tracking."""
    truth, found = record.truth, record.detections
    if truth is None or truth.boxes is None or truth.track_ids is None:
        return None
    if found is None or found.track_ids is None:
        return None
    labels, found_labels = np.array(truth.labels, object), np.array(found.labels, object)
    crowd = np.array(truth.crowd, bool)
    annotated = np.isin(labels, truth.exhaustive)
    true = annotated & ~crowd
    ids = np.array(found.track_ids, np.int64)
    kept = np.isin(found_labels, truth.exhaustive) & (ids != NO_TRACK)
    overlaps = box_overlaps(truth.boxes[true], found.boxes[kept])
    overlaps *= labels[true][:, None] == found_labels[kept][None]
    ignored = annotated & crowd
    regions = box_overlaps(
        found.boxes[kept], truth.boxes[ignored], np.ones(int(ignored.sum()), np.bool_)
    )
    regions *= found_labels[kept][:, None] == labels[ignored][None]
    _, matched = assign(overlaps, IDENTITY_OVERLAP)
    counted = np.asarray(np.all(regions < IDENTITY_OVERLAP, axis=1), np.bool_)
    counted[matched] = True
    return TrackedFrame(
        np.array(truth.track_ids, np.int64)[true],
        ids[kept][counted],
        overlaps[:, counted],
        labels[true],
        found_labels[kept][counted],
    )


def track_metrics(frames: Sequence[TrackedFrame]) -> dict[str, float | int | None]:
    """HOTA and IDF1 of the frames of one recording; None without objects and detections."""
    true_ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(f.true_ids for f in frames)]))
    ids = np.unique(np.concatenate([np.zeros(0, np.int64), *(f.ids for f in frames)]))
    places = [(np.searchsorted(true_ids, f.true_ids), np.searchsorted(ids, f.ids)) for f in frames]
    lengths, found_lengths = np.zeros(len(true_ids)), np.zeros(len(ids))
    for rows, columns in places:
        np.add.at(lengths, rows, 1)
        np.add.at(found_lengths, columns, 1)
    counts = int(lengths.sum()), int(found_lengths.sum())
    tracks = {'true_tracks': len(true_ids), 'tracks': len(ids)}
    if not any(counts):
        return {**dict.fromkeys(('hota', 'det_a', 'ass_a', 'loc_a', 'idf1')), **tracks}
    overlaps = [frame.overlaps for frame in frames]
    return {
        **_hota(overlaps, places, lengths, found_lengths),
        'idf1': _idf1(overlaps, places, (len(true_ids), len(ids)), counts),
        **tracks,
    }


_Places = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
"""Of each frame: the track of every object and of every detection, as indices."""


def _hota(
    overlaps: Sequence[NDArray[np.float64]],
    places: _Places,
    lengths: NDArray[np.float64],
    found_lengths: NDArray[np.float64],
) -> dict[str, float]:
    alignment = _alignment(overlaps, places, lengths, found_lengths)
    steps = len(OVERLAPS)
    right, overlap_sum = np.zeros(steps), np.zeros(steps)
    shape = steps, len(lengths), len(found_lengths)
    codes = [np.zeros(0, np.intp)]
    for overlap, (rows, columns) in zip(overlaps, places, strict=True):
        i, j = assign(alignment[np.ix_(rows, columns)] * overlap, 0.0)
        reached = overlap[i, j] >= OVERLAPS[:, None] - _TOLERANCE  # (α, pairs)
        right += reached.sum(axis=1)
        overlap_sum += (reached * overlap[i, j]).sum(axis=1)
        step, pair = np.nonzero(reached)
        codes.append(np.ravel_multi_index((step, rows[i[pair]], columns[j[pair]]), shape))
    detection = right / (lengths.sum() + found_lengths.sum() - right)
    # A table of all pairs of tracks and thresholds would take gigabytes for a crowd.
    pairs, together = np.unique(np.concatenate(codes), return_counts=True)
    step, row, column = np.unravel_index(pairs, shape)
    shares = together**2 / (lengths[row] + found_lengths[column] - together)
    association = np.bincount(step, shares, steps) / np.maximum(right, 1)
    located = np.ones(steps)
    np.divide(overlap_sum, right, out=located, where=right > 0)
    return {
        'hota': float(np.sqrt(detection * association).mean()),
        'det_a': float(detection.mean()),
        'ass_a': float(association.mean()),
        'loc_a': float(located.mean()),
    }


def _alignment(
    overlaps: Sequence[NDArray[np.float64]],
    places: _Places,
    lengths: NDArray[np.float64],
    found_lengths: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Agreement of each pair of tracks over the recording; it breaks ties within a frame."""
    potential = np.zeros((len(lengths), len(found_lengths)))
    for overlap, (rows, columns) in zip(overlaps, places, strict=True):
        others = overlap.sum(axis=0)[None] + overlap.sum(axis=1)[:, None] - overlap
        shares = np.zeros_like(overlap)
        np.divide(overlap, others, out=shares, where=others > _TOLERANCE)
        potential[np.ix_(rows, columns)] += shares
    return np.asarray(potential / (lengths[:, None] + found_lengths[None] - potential))


def _idf1(
    overlaps: Sequence[NDArray[np.float64]],
    places: _Places,
    tracks: tuple[int, int],
    counts: tuple[int, int],
) -> float:
    together = np.zeros(tracks)
    for overlap, (rows, columns) in zip(overlaps, places, strict=True):
        together[np.ix_(rows, columns)] += overlap >= IDENTITY_OVERLAP
    i, j = assign(together / max(together.max(initial=0), 1), 0.0)
    return float(2 * together[i, j].sum() / sum(counts))
