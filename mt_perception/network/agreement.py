# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two detectors' opinions become one: where both see the same object, it is surer.

Weighted boxes fusion (Solovyev et al., arXiv 1910.13302, section 3) for two detectors, without its
loop over boxes: what overlaps is found for all pairs at once. So are duplicates, of which both
detectors make many (Bolya et al., arXiv 1904.02689, section 3.3): they would be on the link.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

CANDIDATES = 256
"""So many boxes of each detector are looked at; with half of them AP is 0.004 lower."""

_SAME = 0.6
"""Boxes of one class that overlap so much (IoU) are of the same object."""
_DUPLICATE = 0.7
"""Boxes of one class that overlap more are the same one twice; robots drop them from 0.65 on."""
_FIRST_SHARE = 0.6
"""Of the first detector, the better one."""
_CLASS_PIXELS = 8192.0
"""Farther from one another than any box is long."""
_LEAST = 1e-6


class Found(NamedTuple):
    """A detector's opinion."""

    boxes: Tensor  # (B, N, 4) x1, y1, x2, y2 in network pixels
    scores: Tensor  # (B, N) from 0 to 1
    class_ids: Tensor  # (B, N) int64


def agreed(first: Found, second: Found) -> Found:
    """Give 2 × CANDIDATES boxes: the first's, moved and rated by both, and the second's alone.

    A score is the mean of both detectors', 0 of one that does not see the object; a box the mean
    of both, weighted by their scores. Duplicates have a score of 0.
    """
    ours, theirs = _best(first), _best(second)
    same = _overlap(ours, theirs) > _SAME
    heard = torch.where(same, theirs.scores[:, None, :], 0.0)  # (B, N, N)
    second_score, index = heard.max(dim=2)
    said = _FIRST_SHARE * ours.scores
    added = (1 - _FIRST_SHARE) * second_score
    total = (said + added).clamp_min(_LEAST)
    moved = theirs.boxes.gather(1, index[..., None].expand(-1, -1, 4))
    share = (added / total)[..., None]
    ours = Found(ours.boxes + share * (moved - ours.boxes), total, ours.class_ids)
    alone = torch.where(heard.amax(dim=1) > 0, 0.0, (1 - _FIRST_SHARE) * theirs.scores)
    return Found(
        torch.cat((ours.boxes, theirs.boxes), dim=1),
        torch.cat((torch.where(_again(ours), 0.0, total), alone), dim=1),
        torch.cat((ours.class_ids, theirs.class_ids), dim=1),
    )


def _again(found: Found) -> Tensor:
    """Which boxes (B, N) are those of a better one once more."""
    near = torch.where(_overlap(found, found) > _DUPLICATE, found.scores[:, None, :], 0.0)
    return near.amax(dim=2) > found.scores


def _best(found: Found) -> Found:
    """The CANDIDATES best; a small image, which has fewer, gets empty ones with a score of 0."""
    boxes, scores, class_ids = (_padded(values) for values in found)
    scores, index = scores.topk(CANDIDATES, dim=1)
    boxes = boxes.gather(1, index[..., None].expand(-1, -1, 4))
    return Found(boxes, scores, class_ids.gather(1, index))


def _padded(values: Tensor) -> Tensor:
    """Values (B, N, …) and CANDIDATES zeros behind them."""
    zeros = values.new_zeros(values.shape[0], CANDIDATES, *values.shape[2:])
    return torch.cat((values, zeros), dim=1)


def _overlap(a: Found, b: Found) -> Tensor:
    """Intersection over union of every pair, (B, N, M); 0 of different classes."""
    ours, theirs = _apart(a), _apart(b)
    width = _shared(ours[..., 0], ours[..., 2], theirs[..., 0], theirs[..., 2])
    both = width * _shared(ours[..., 1], ours[..., 3], theirs[..., 1], theirs[..., 3])
    union = _area(ours)[:, :, None] + _area(theirs)[:, None, :] - both
    return both / union.clamp_min(_LEAST)


def _apart(found: Found) -> Tensor:
    """Boxes, each class at a place of its own: faster than to compare classes."""
    shift = _CLASS_PIXELS * found.class_ids.to(found.boxes.dtype)
    return found.boxes + shift[..., None]


def _shared(low: Tensor, high: Tensor, other_low: Tensor, other_high: Tensor) -> Tensor:
    """What stretches (B, N) and (B, M) have in common, (B, N, M)."""
    end = torch.minimum(high[:, :, None], other_high[:, None, :])
    return (end - torch.maximum(low[:, :, None], other_low[:, None, :])).clamp_min(0)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
