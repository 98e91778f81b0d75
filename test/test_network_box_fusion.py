# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Two detectors agree: on what both see more, on what one sees less."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from mt_perception.network.box_fusion import CANDIDATES, Found, best, fuse_boxes, rows

BOX = [10.0, 20.0, 50.0, 80.0]
NEAR = [12.0, 22.0, 50.0, 80.0]
FAR = [100.0, 20.0, 150.0, 80.0]


Opinion = tuple[list[float], float, int]


def found(*objects: Opinion) -> Found:
    boxes, scores, class_ids = zip(*objects, strict=True)
    return Found(torch.tensor([boxes]), torch.tensor([scores]), torch.tensor([class_ids]))


def opinions(both: Found) -> list[Opinion]:
    """Those with a score, best first."""
    rows = zip(
        both.boxes[0].tolist(), both.scores[0].tolist(), both.class_ids[0].tolist(), strict=True
    )
    return sorted((r for r in rows if r[1] > 1e-5), key=lambda row: -row[1])


def test_what_both_see_is_where_both_say_and_as_sure_as_both() -> None:
    ((box, score, class_id),) = opinions(fuse_boxes(found((BOX, 0.9, 3)), found((NEAR, 0.4, 3))))
    assert score == pytest.approx(0.6 * 0.9 + 0.4 * 0.4)
    assert class_id == 3
    share = 0.4 * 0.4 / score
    assert box == pytest.approx([10 + 2 * share, 20 + 2 * share, 50, 80])


@pytest.mark.parametrize(('other', 'class_id'), [(FAR, 3), (NEAR, 4)])
def test_what_one_sees_is_half_as_sure(other: list[float], class_id: int) -> None:
    first, second = opinions(fuse_boxes(found((BOX, 0.9, 3)), found((other, 0.8, class_id))))
    assert first == (BOX, pytest.approx(0.6 * 0.9), 3)
    assert second == (other, pytest.approx(0.4 * 0.8), class_id)


def test_of_duplicates_the_best_remains() -> None:
    twice = found((NEAR, 0.7, 3), (BOX, 0.9, 3), (BOX, 0.85, 3), (BOX, 0.8, 4))
    first, second = opinions(fuse_boxes(twice, found((FAR, 0.0, 0))))
    assert first == (BOX, pytest.approx(0.6 * 0.9), 3)
    assert second == (BOX, pytest.approx(0.6 * 0.8), 4)


def test_it_is_the_same_as_pair_by_pair() -> None:
    torch.manual_seed(0)
    corners = torch.randint(0, 90, (40, 2)).float()
    boxes = torch.cat((corners, corners + torch.randint(10, 40, (40, 2))), dim=1)
    boxes = torch.stack((boxes, boxes + torch.randint(-4, 4, (40, 4))))
    scores, class_ids = torch.rand(2, 40), torch.randint(0, 2, (2, 40))
    one, two = (Found(boxes[i : i + 1], scores[i : i + 1], class_ids[i : i + 1]) for i in (0, 1))
    ours: list[Opinion] = []
    seen = set()
    for box, score, class_id in opinions(one):
        said, where = 0.0, box
        for index, (other, theirs, same) in enumerate(opinions(two)):
            if class_id == same and overlap(box, other) > 0.6:
                seen.add(index)
                if theirs > said:
                    said, where = theirs, other
        weights = np.array([0.6 * score, 0.4 * said])
        moved = np.array([box, where]).T @ weights / weights.sum()
        ours.append((moved.tolist(), weights.sum(), class_id))
    expected = [a for a in ours if not any(a != b and is_again(a, b) for b in ours)]
    assert 5 < len(expected) < 40, 'some are duplicates'
    alone = [row for index, row in enumerate(opinions(two)) if index not in seen]
    assert 5 < len(alone) < 35, 'some are seen by both, some by one'
    expected += [(box, 0.4 * score, class_id) for box, score, class_id in alone]
    result = opinions(fuse_boxes(one, two))
    assert len(result) == len(expected)
    for row, wanted in zip(result, sorted(expected, key=lambda r: -r[1]), strict=True):
        assert row[0] == pytest.approx(wanted[0], abs=1e-3)
        assert row[1:] == (pytest.approx(wanted[1], abs=1e-6), wanted[2])


def is_again(a: Opinion, b: Opinion) -> bool:
    """Whether a is b once more."""
    return a[2] == b[2] and a[1] <= b[1] and overlap(a[0], b[0]) > 0.7


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union."""
    sides = [max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1)]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def test_batches_do_not_mix() -> None:
    torch.manual_seed(1)
    corners = 60 * torch.rand(2, 3, 90, 2)
    first, second = (
        Found(torch.cat((c, c + 20), dim=2), torch.rand(3, 90), torch.randint(0, 2, (3, 90)))
        for c in corners
    )
    together = fuse_boxes(first, second)
    for index in range(3):
        alone = fuse_boxes(*(Found(*(v[index : index + 1] for v in f)) for f in (first, second)))
        for ours, theirs in zip(alone, together, strict=True):
            torch.testing.assert_close(ours[0], theirs[index])


@pytest.mark.parametrize('count', [3, CANDIDATES, 900])
def test_the_best_are_chosen(count: int) -> None:
    torch.manual_seed(1)
    scores = torch.rand(2, count)
    found, index = best(scores)
    assert found.shape == index.shape == (2, CANDIDATES)
    few = min(count, CANDIDATES)
    torch.testing.assert_close(found[:, :few], scores.topk(few).values)
    assert not found[:, few:].any()
    torch.testing.assert_close(rows(scores[..., None], index)[:, :few, 0], found[:, :few])
