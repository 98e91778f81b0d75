# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Nothing that a host can send reaches post-processing unless it can be read there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mt_perception.errors import ProtocolError
from mt_perception.execution.options import Options
from mt_perception.execution.postprocess.depth import network_depth
from mt_perception.execution.postprocess.detection import detections
from mt_perception.execution.postprocess.segmentation import segmentation
from mt_perception.image.letterbox import fit
from mt_perception.model.manifest import TaskSpec
from mt_perception.offload.protocol import (
    InferenceRequest,
    InferenceResponse,
    parse_response,
    serialize_response,
)
from mt_perception.offload.response_validation import validate_response

BOXES = {name: f'detection/{name}' for name in ('boxes', 'scores', 'class_ids')}
TASKS = (
    TaskSpec('detection', 'detection', BOXES, ('a', 'b')),
    TaskSpec('segmentation', 'segmentation', {'class_ids': 'segmentation/class_ids'}, ('a', 'b')),
    TaskSpec('depth', 'depth', {'depth_per_focal': 'depth/depth_per_focal'}, ()),
)
SIZE = (64, 96)
TENSORS = {
    'detection/boxes': np.array([[[1, 2, 30, 40], [5, 5, 20, 60]]], np.float32),
    'detection/scores': np.array([[0.9, 0.5]], np.float32),
    'detection/class_ids': np.array([[0, 1]]),
    'segmentation/class_ids': np.tile(np.array([0, 1, 255], np.uint8), (1, 8, 4)),
    'depth/depth_per_focal': np.full((1, 8, 12), 0.01, np.float32),
}


def processed(tensors: dict[str, np.ndarray]) -> None:
    """What the pipeline does with them."""
    letterbox = fit((60, 90), 96, 32)
    boxes = {name: tensors[tensor] for name, tensor in BOXES.items()}
    detections(boxes, letterbox, ('a', 'b'), Options())
    segmentation(tensors['segmentation/class_ids'], letterbox, ('a', 'b'))
    outputs = {'depth_per_focal': tensors['depth/depth_per_focal']}
    network_depth(outputs, letterbox, None).depth_map(20.0)


@settings(max_examples=200)
@given(
    hnp.arrays(
        st.sampled_from([np.float32, np.int64, np.uint8, np.uint16, np.bool_, np.int32]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    ),
    st.sampled_from(sorted(TENSORS)),
    st.booleans(),
)
def test_validation_raises_nothing_but_its_own_error(
    value: np.ndarray, name: str, missing: bool
) -> None:
    tensors = {**TENSORS, name: value}
    if missing:
        del tensors[name]
    try:
        validate_response(tensors, TASKS, SIZE)
    except ProtocolError:
        return
    processed(tensors)


def test_what_is_good_passes() -> None:
    validate_response(TENSORS, TASKS, SIZE)
    processed(TENSORS)
    empty = {name: value[:, :0] for name, value in TENSORS.items() if name.startswith('detection')}
    validate_response({**TENSORS, **empty}, TASKS, SIZE)


@pytest.mark.parametrize('name', TENSORS)
def test_other_types_and_shapes_do_not(name: str) -> None:
    value = TENSORS[name]
    for bad in (value[0], value[None], np.concatenate([value, value]), value.astype(np.complex64)):
        with pytest.raises(ProtocolError, match=name.split('/')[0]):
            validate_response({**TENSORS, name: bad}, TASKS, SIZE)


REQUEST = InferenceRequest('tiny', '1', 'id', b'payload', tuple(sorted(TENSORS)), 0.1, 0.001)
MESSAGE = serialize_response(REQUEST, InferenceResponse(TENSORS), ['depth/depth_per_focal'])


@settings(max_examples=400)
@given(
    st.lists(st.tuples(st.integers(0, len(MESSAGE) - 1), st.integers(0, 255)), max_size=8),
    st.integers(0, len(MESSAGE)),
    st.binary(max_size=20),
)
def test_a_mangled_reply_is_refused_or_can_be_processed(
    changes: Sequence[tuple[int, int]], length: int, more: bytes
) -> None:
    mangled = bytearray(MESSAGE)
    for place, value in changes:
        mangled[place] = value
    for message in (bytes(mangled), bytes(mangled[:length]), bytes(mangled) + more):
        try:
            tensors = dict(parse_response(message, REQUEST).tensors)
            validate_response(tensors, TASKS, SIZE)
        except ProtocolError:
            continue
        processed(tensors)
