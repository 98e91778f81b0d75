# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""PicoDet is what its authors' file is, at any size; what it predicts is decoded to pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip('torch')

from onnx import TensorProto, helper, numpy_helper, save

from mt_perception.errors import ModelError
from mt_perception.network.macs import count_macs, count_parameters
from mt_perception.network.picodet import BINS, PicoDet, cells_of, decode_sides
from mt_perception.network.pretrained import load_picodet

CHECKPOINT = 'teachers/picodet_s_416_coco.onnx'
MEAN = np.array([0.485, 0.456, 0.406], np.float32).reshape(1, 3, 1, 1) * 255
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1) * 255


def test_it_computes_what_its_file_computes(data: Path) -> None:
    detector = PicoDet().eval()
    load_picodet(detector, data / CHECKPOINT)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(data / CHECKPOINT), options)
    small = np.random.default_rng(0).integers(0, 256, (1, 3, 52, 52))
    image = small.repeat(8, axis=2).repeat(8, axis=3).astype(np.float32)  # BGR, 0 to 255
    (name,) = (i.name for i in session.get_inputs() if i.name == 'image')
    theirs = session.run(None, {name: (image[:, ::-1] - MEAN) / DEVIATION})
    with torch.no_grad():
        ours = detector(torch.from_numpy(image))
    scores, sides = np.concatenate(theirs[:4], axis=1), np.concatenate(theirs[4:], axis=1)
    np.testing.assert_allclose(ours.classes.sigmoid().numpy(), scores, atol=1e-5)
    np.testing.assert_allclose(ours.sides.flatten(2).numpy(), sides, atol=1e-3)


def test_it_is_as_small_as_its_authors_say() -> None:
    detector = PicoDet()
    assert count_parameters(detector) == pytest.approx(0.98e6, rel=0.02)
    assert count_macs(detector, [torch.zeros(1, 3, 320, 416)]) == pytest.approx(456e6, rel=0.02)


@pytest.mark.parametrize('size', [(64, 96), (40, 120), (88, 72)])
def test_sizes_that_do_not_halve_evenly_have_a_cell_for_each_prediction(
    size: tuple[int, int],
) -> None:
    detector = PicoDet(5).eval()
    with torch.no_grad():
        pyramid = detector.pyramid(torch.zeros(2, 3, *size))
        raw = detector.head(*pyramid)
    centres, strides = cells_of(*pyramid)
    expected = sum(-(-size[0] // s) * -(-size[1] // s) for s in (8, 16, 32, 64))
    assert raw.classes.shape == (2, expected, 5)
    assert raw.sides.shape == (2, expected, 4, BINS)
    assert centres.shape == (expected, 2)
    assert strides.flatten().unique().tolist() == [8, 16, 32, 64]


def test_sides_are_distances_from_the_centre() -> None:
    sides = torch.full((1, 1, 4, BINS), -20.0)
    for side, steps in enumerate((1, 2, 3, 4)):
        sides[0, 0, side, steps] = 20.0
    boxes = decode_sides(sides, torch.tensor([[100.0, 60.0]]), torch.tensor([[8.0]]))
    torch.testing.assert_close(boxes, torch.tensor([[[92.0, 44.0, 124.0, 92.0]]]))
    alike = decode_sides(torch.zeros(1, 1, 4, BINS), torch.zeros(1, 2), torch.ones(1, 1))
    torch.testing.assert_close(alike, torch.tensor([[[-3.5, -3.5, 3.5, 3.5]]]))


def test_another_network_is_refused_by_name(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), 'w')
    bias = numpy_helper.from_array(np.zeros(4, np.float32), 'b')
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ('image', 'out')
    ]
    node = helper.make_node('Conv', ['image', 'w', 'b'], ['out'])
    graph = helper.make_graph([node], 'net', ends[:1], ends[1:], [weights, bias])
    save(helper.make_model(graph), str(tmp_path / 'other.onnx'))
    with pytest.raises(ModelError, match=r'has 1 convolutions, the network has .*PicoDet-S'):
        load_picodet(PicoDet(), tmp_path / 'other.onnx')
