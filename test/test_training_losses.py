# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from mt_perception.network.detection import RawDetections, cells_of, decode_boxes
from mt_perception.training.data.samples import Boxes
from mt_perception.training.losses.depth import (
    gradient_loss,
    metric_loss,
    relative_loss,
    shape_loss,
)
from mt_perception.training.losses.detection import (
    assign,
    detection_loss,
    distillation_loss,
    paired_iou,
    pairwise_iou,
)
from mt_perception.training.losses.segmentation import (
    EXCLUDED,
    class_weights,
    confident_labels,
    segmentation_loss,
)

CELLS = cells_of(tuple(torch.zeros(1, 1, n, n) for n in (8, 4, 2)))
N = len(CELLS[0])


def raw(batch: int = 1, classes: int = 3) -> RawDetections:
    torch.manual_seed(0)
    return RawDetections(
        torch.randn(batch, N, 4).mul(0.3).requires_grad_(),
        torch.randn(batch, N).requires_grad_(),
        torch.randn(batch, N, classes).requires_grad_(),
    )


def boxes(complete: bool, *corners: list[float]) -> Boxes:
    return Boxes(
        np.array(corners, np.float32).reshape(-1, 4),
        np.arange(len(corners), dtype=np.int64) % 3,
        complete,
    )


def test_detection_trains_all_three_branches() -> None:
    out = raw()
    detection_loss(out, CELLS, [boxes(True, [8, 8, 40, 40])]).backward()
    for part in out:
        assert part.grad.abs().sum() > 0


def test_an_unlabelled_image_has_no_loss_and_no_gradient() -> None:
    out = raw(2)
    loss = detection_loss(out, CELLS, [None, boxes(True, [8, 8, 40, 40])])
    loss.backward()
    for part in out:
        assert part.grad[0].abs().sum() == 0
        assert part.grad[1].abs().sum() > 0
    nothing = raw()
    assert detection_loss(nothing, CELLS, [None]) == 0


def test_partial_labels_say_nothing_about_the_rest() -> None:
    """A set that labels persons only must not push down what may be an unlabelled chair."""
    partial, complete = raw(), raw()
    detection_loss(partial, CELLS, [boxes(False, [8, 8, 40, 40])]).backward()
    detection_loss(complete, CELLS, [boxes(True, [8, 8, 40, 40])]).backward()
    touched = partial.objectness.grad[0] != 0
    assert 0 < touched.sum() < N // 2
    assert (complete.objectness.grad[0] != 0).all()
    assert (partial.objectness.grad[0][touched] < 0).all(), 'only towards "there is an object"'


def test_a_partial_image_without_boxes_is_silent() -> None:
    out = raw()
    detection_loss(out, CELLS, [boxes(False)]).backward()
    assert all(part.grad is None or part.grad.abs().sum() == 0 for part in out)


def test_each_cell_serves_one_object() -> None:
    out = raw()
    targets = torch.tensor([[4.0, 4, 36, 36], [10, 10, 42, 42], [0, 0, 63, 63]])
    predicted = decode_boxes(out.boxes[0], *CELLS).detach()
    cell, match, overlap = assign(
        predicted, out.objectness[0], out.classes[0], CELLS, targets, torch.tensor([0, 1, 2])
    )
    assert len(set(cell.tolist())) == len(cell)
    assert set(match.tolist()) <= {0, 1, 2}
    torch.testing.assert_close(overlap, paired_iou(predicted[cell], targets[match]))
    centres = (CELLS[0] + CELLS[1] / 2)[cell]
    middle = ((targets[:, :2] + targets[:, 2:]) / 2)[match]
    assert ((centres - middle).abs().amax(1) < 1.5 * CELLS[1][cell, 0]).all()


def test_overlap_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3], [5, 5, 6, 6]])
    torch.testing.assert_close(pairwise_iou(a, b), torch.tensor([[1 / 7, 0]]))


def test_distillation_is_zero_where_they_agree_and_pulls_where_not() -> None:
    out, teacher = raw(), RawDetections(*(t.detach() for t in raw()))
    assert distillation_loss(out, teacher).item() == pytest.approx(0, abs=1e-5)
    apart = RawDetections(*(t + 0.5 for t in teacher))
    loss = distillation_loss(out, apart)
    loss.backward()
    assert loss > 0
    for part in out:
        assert (part.grad <= 0).all(), 'every output is pulled up, towards the teacher'
        assert part.grad.abs().sum() > 0


def test_segmentation_counts_labelled_pixels_only() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 6, 6, requires_grad=True)
    labels = torch.full((1, 6, 6), 255)
    labels[0, 2, 3] = 1
    segmentation_loss(logits, labels, torch.ones(4)).backward()
    touched = logits.grad.abs().sum(1)[0] > 0
    assert touched.nonzero().tolist() == [[2, 3]]
    nothing = segmentation_loss(logits, torch.full((1, 6, 6), 255), torch.ones(4))
    assert nothing == 0


def test_an_excluded_class_is_pushed_down_and_no_other_is_named() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 1, 2, requires_grad=True)
    labels = torch.tensor([[[EXCLUDED + 2, 255]]])
    loss = segmentation_loss(logits, labels, torch.ones(4))
    p = logits.detach().softmax(1)[0, 2, 0, 0]
    assert loss.item() == pytest.approx(-math.log(1 - p), rel=1e-4)
    loss.backward()
    down = logits.grad[0, :, 0, 0]
    assert down[2] > 0
    assert (down[[0, 1, 3]] < 0).all()
    assert logits.grad[..., 1].abs().sum() == 0


def test_segmentation_weights_are_those_of_the_labels() -> None:
    logits = torch.zeros(1, 2, 1, 2)
    logits[0, 0, 0, 0] = 9.0  # right about the first pixel, undecided about the second
    labels = torch.tensor([[[0, 1]]])
    light, heavy = (
        segmentation_loss(logits, labels, torch.tensor([1.0, w])).item() for w in (1.0, 9.0)
    )
    assert heavy > light


def test_confident_labels_fill_unlabelled_pixels_inside_the_image() -> None:
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, 2, 0, :3] = 8.0
    labels = torch.tensor([[[255, 1, 255, 255]]])
    inside = torch.tensor([[[True, True, False, True]]])
    found = confident_labels(logits, labels, inside, 0.9)
    assert found.tolist() == [[[2, 255, 255, 255]]]


def test_rare_classes_weigh_more_but_not_without_bound() -> None:
    weights = class_weights(torch.tensor([0, 100, 10_000, 1_000_000]))
    assert (weights.diff() <= 0).all()
    assert weights.mean() == pytest.approx(1)
    assert weights.max() / weights.min() <= 16.01


def test_depth_counts_measured_pixels_only() -> None:
    log_depth = torch.zeros(1, 8, 8, requires_grad=True)
    depth = torch.zeros(1, 8, 8)
    depth[0, 2:4, 2:4] = float(np.e)
    loss = metric_loss(log_depth, depth)
    assert loss.item() == pytest.approx(1)
    (loss + gradient_loss(log_depth, depth)).backward()
    touched = log_depth.grad[0] != 0
    assert touched.sum() == 4
    assert touched[2:4, 2:4].all()
    assert metric_loss(log_depth, torch.zeros(1, 8, 8)) == 0


def test_the_gradient_loss_ignores_scale_and_sees_edges() -> None:
    truth = torch.ones(1, 16, 16)
    truth[0, :, 8:] = 3.0
    log_depth = truth.log()
    assert gradient_loss(log_depth + 0.7, truth) == pytest.approx(0, abs=1e-6)
    assert gradient_loss(torch.zeros(1, 16, 16), truth) > 0.01


def test_relative_depth_ignores_scale_and_shift() -> None:
    torch.manual_seed(0)
    inverse = torch.rand(1, 16, 16) + 0.5
    log_depth = -(inverse.log())
    same = relative_loss(log_depth, inverse * 3.0 + 2.0)
    # The range of the clamp is wide enough for any teacher that is sane.
    assert same == pytest.approx(0, abs=1e-4)
    wrong = log_depth.flip(1).clone().requires_grad_()
    loss = relative_loss(wrong, inverse)
    loss.backward()
    assert loss > 0.1
    assert wrong.grad.abs().sum() > 0


def test_relative_depth_needs_a_teacher() -> None:
    log_depth = torch.zeros(2, 8, 8, requires_grad=True)
    inverse = torch.full((2, 8, 8), -1.0)
    assert relative_loss(log_depth, inverse) == 0
    inverse[1] = torch.rand(8, 8)
    relative_loss(log_depth + torch.rand(2, 8, 8), inverse).backward()
    assert log_depth.grad[0].abs().sum() == 0


def test_an_image_of_sparse_depth_counts_as_much_as_a_dense_one() -> None:
    log_depth = torch.zeros(3, 8, 8)
    depth = torch.zeros(3, 8, 8)
    depth[0] = float(np.e)  # 64 pixels, off by 1
    depth[1, 0, 0] = float(np.e**3)  # one pixel, off by 3
    assert metric_loss(log_depth, depth) == pytest.approx(2, abs=1e-4)


def test_shape_ignores_scale_and_counts_measured_images() -> None:
    depth = torch.rand(2, 8, 8) + 0.5
    depth[1] = 0
    log_depth = depth.clamp_min(1e-3).log()
    assert shape_loss(log_depth + 0.9, depth) == pytest.approx(0.01, abs=1e-3)
    wrong = log_depth.clone()
    wrong[0, :4] += 1.0
    assert shape_loss(wrong, depth) == pytest.approx(0.5, abs=0.01)
    wrong.requires_grad_()
    shape_loss(wrong, depth).backward()
    assert wrong.grad is not None
    assert wrong.grad[0].abs().sum() > 0
    assert wrong.grad[1].abs().sum() == 0
    assert shape_loss(log_depth, torch.zeros(2, 8, 8)) == 0
