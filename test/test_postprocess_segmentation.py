# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Label images: the right ids at the right pixels, and none that has no name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import TaskError
from mt_perception.execution.postprocess.segmentation import confidence, segmentation
from mt_perception.image.letterbox import fit
from mt_perception.model.manifest import ConfidenceSpec
from mt_perception.types import UNLABELLED

LABELS = ('floor', 'wall', 'door')


def test_halves_stay_halves() -> None:
    box = fit((480, 640), 320, 32)  # 320×240, padded to 256 rows.
    ids = np.zeros((1, 64, 80), np.uint8)
    ids[:, :, 40:] = 1
    ids[:, 30:60] = 2
    ids[:, 60:] = UNLABELLED  # The padding.
    made = segmentation(ids, box, LABELS)
    assert made.class_ids.shape == (480, 640)
    assert made.class_ids.dtype == np.uint8
    assert made.labels == LABELS
    assert (made.class_ids[:240, :320] == 0).all()
    assert (made.class_ids[:240, 320:] == 1).all()
    assert (made.class_ids[240:] == 2).all()


@given(
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.sampled_from([2, 4, 8]),
    st.integers(0, 99),
)
def test_no_id_is_invented(size: tuple[int, int], stride: int, seed: int) -> None:
    box = fit(size, 160, 32)
    shape = [side // stride for side in box.network_size]
    ids = np.random.default_rng(seed).choice([0, 2, UNLABELLED], (1, *shape)).astype(np.uint8)
    made = segmentation(ids, box, LABELS)
    assert made.class_ids.shape == size
    assert set(np.unique(made.class_ids)) <= {0, 2, UNLABELLED}


@pytest.mark.parametrize(
    ('value', 'dtype'),
    [(3, np.uint8), (256, np.int64), (257, np.uint16), (-1, np.int8), (2**40, np.int64)],
)
def test_an_id_without_a_label_is_a_failure(value: int, dtype: type) -> None:
    """Before it is cut to 8 bits: 256 is not class 0."""
    ids = np.full((1, 40, 40), value, dtype)
    with pytest.raises(TaskError, match=f'class_ids below 3.*found {value}'):
        segmentation(ids, fit((160, 160), 160, 32), LABELS)


@pytest.mark.parametrize('dtype', [np.float32, bool])
def test_ids_are_integers(dtype: type) -> None:
    ids = np.full((1, 40, 40), 1.9).astype(dtype)
    with pytest.raises(TaskError, match='expected integer class_ids'):
        segmentation(ids, fit((160, 160), 160, 32), LABELS)


def test_unlabelled_pixels_of_wide_ids_are_kept() -> None:
    ids = np.full((1, 40, 40), UNLABELLED, np.int64)
    made = segmentation(ids, fit((160, 160), 160, 32), LABELS)
    assert (made.class_ids == UNLABELLED).all()


@pytest.mark.parametrize('shape', [(40, 40), (2, 40, 40), (1, 0, 40), (1, 3, 40, 40)])
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(TaskError, match='expected class_ids'):
        segmentation(np.zeros(shape, np.uint8), fit((160, 160), 160, 32), LABELS)


def test_confidence_is_calibrated_and_lies_where_the_classes_lie() -> None:
    box = fit((480, 640), 320, 32)  # 320×240, padded to 256 rows.
    logits = np.full((1, 2, 64, 80), 99.0, np.float32)  # Beyond what exp takes in float32.
    logits[:, 1, :, 40:] -= np.log(9)  # 0.9 against 0.1.
    plain = confidence(logits, box, ConfidenceSpec('t'))
    assert (plain.shape, plain.dtype) == ((480, 640), np.uint8)
    assert (plain[:, :312] == 128).all()
    assert (plain[:, 328:] == 230).all()
    # By hand: logit(0.9) = ln 9 = 2.197; 1 / (1 + exp(-(0.5 · 2.197 - 1))) = 0.5246.
    made = confidence(logits, box, ConfidenceSpec('t', slope=0.5, offset=-1.0))
    assert made[0, 0] == pytest.approx(255 / (1 + np.e), abs=1)
    assert made[0, -1] == pytest.approx(0.5246 * 255, abs=1)


@pytest.mark.parametrize('value', [np.inf, np.nan])
def test_logits_are_finite(value: float) -> None:
    logits = np.zeros((1, 3, 40, 40), np.float32)
    logits[0, 0, 5, 5] = value
    with pytest.raises(TaskError, match='not finite'), np.errstate(invalid='ignore'):
        confidence(logits, fit((160, 160), 160, 32), ConfidenceSpec('t'))


def test_logits_of_three_axes() -> None:
    logits = np.zeros((1, 40, 40), np.float32)
    with pytest.raises(TaskError, match=r'logits \(1, C'):
        confidence(logits, fit((160, 160), 160, 32), ConfidenceSpec('t'))
