# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metric depth of photographs from objects of known size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mt_perception.training.data.samples import NamedBox, Sample
from mt_perception.training.distillation.known_sizes import SIZES, find_anchors, fit, label

SIZE = (240, 320)


def person(depth_per_focal: float, left: float, bottom: float) -> NamedBox:
    height = SIZES['person'].metres / depth_per_focal
    return NamedBox('person', left, bottom - height, height / 3, height)


def scene(*people: tuple[float, float]) -> tuple[list[NamedBox], NDArray[np.float64]]:
    """Persons (depth over focal length, left) in a corridor, and relative inverse depth."""
    boxes = [person(depth, left, 60 + 1.5 / depth) for depth, left in people]
    far = 0.08
    inverse = np.full(SIZE, 1 / far)
    for depth, box in sorted(zip((d for d, _ in people), boxes, strict=True), reverse=True):
        rows = slice(max(0, int(box.top)), int(box.top + box.height))
        inverse[rows, int(box.left) : int(box.left + box.width)] = 1 / depth
    # What a teacher gives: stretched over 0 to 1, scale and shift unknown.
    return boxes, (inverse - inverse.min()) / (inverse.max() - inverse.min())


def test_two_persons_make_the_whole_picture_metric() -> None:
    boxes, relative = scene((0.012, 30.0), (0.03, 220.0))
    anchors = find_anchors(boxes, SIZE)
    assert [a.depth_per_focal for a in anchors] == pytest.approx([0.012, 0.03])
    found = fit(relative, anchors)
    assert found is not None
    depth = found.depth_per_focal(relative)
    for truth, box in zip((0.012, 0.03), boxes, strict=True):
        middle = depth[int(box.top + box.height / 2), int(box.left + box.width / 2)]
        assert middle == pytest.approx(truth, rel=0.15)


@pytest.mark.parametrize(
    'box',
    [
        NamedBox('person', 50, 50, 60, 80),  # sits
        NamedBox('person', 0, 50, 30, 90),  # cut off by the edge
        NamedBox('person', 50, 140, 30, 99),  # stands below the edge
        NamedBox('person', 50, 50, 4, 10),  # too small to say
        NamedBox('banana', 50, 50, 30, 90),  # of no known size
        NamedBox('person', 50, 50, 0, 90),
    ],
)
def test_objects_that_do_not_show_their_size_are_left_out(box: NamedBox) -> None:
    assert find_anchors([box], SIZE) == []


def test_what_another_object_covers_is_left_out() -> None:
    behind = NamedBox('person', 100, 60, 30, 90)
    table = NamedBox('dining table', 80, 110, 100, 70)
    assert find_anchors([behind], SIZE)
    assert behind not in [anchor.box for anchor in find_anchors([behind, table], SIZE)]
    beside = NamedBox('dining table', 200, 110, 100, 70)
    assert behind in [anchor.box for anchor in find_anchors([behind, beside], SIZE)]


def test_anchors_that_disagree_are_refused() -> None:
    boxes, relative = scene((0.012, 30.0), (0.03, 220.0))
    # The near person claims to be far, and the far one to be near: order itself is wrong.
    assert fit(1 - relative, find_anchors(boxes, SIZE)) is None


def test_one_object_of_vague_size_is_not_enough() -> None:
    relative = np.linspace(0, 1, SIZE[0])[:, None].repeat(SIZE[1], axis=1)
    vague, sure = NamedBox('tv', 50, 50, 60, 40), NamedBox('stop sign', 50, 50, 40, 40)
    assert fit(relative, find_anchors([vague], SIZE)) is None
    assert fit(relative, find_anchors([sure], SIZE)) is not None
    assert fit(relative, []) is None


def test_labels_reach_no_farther_than_the_anchors_tell() -> None:
    boxes, relative = scene((0.012, 30.0), (0.03, 220.0))
    relative[:40] = 0.0  # sky
    sample = Sample('a', Path('a.png'), SIZE, objects=tuple(boxes))
    depth = label(sample, relative)
    assert depth is not None
    known = depth[depth > 0]
    assert known.max() <= 0.03 * 2.5
    assert known.min() >= 0.012 / 2.5
    assert (depth == 0).any() or known.size == depth.size
    assert label(Sample('b', Path('b.png'), SIZE), relative) is None
