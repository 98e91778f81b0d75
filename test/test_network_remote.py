# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote half begins as the robot's own heads, and its scores can be calibrated."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch')

from mt_perception.network.box_fusion import CANDIDATES
from mt_perception.network.macs import count_macs
from mt_perception.network.multitask import build
from mt_perception.network.picodet import BINS
from mt_perception.network.remote import Remote
from mt_perception.network.split_graphs import remote_blocks


def test_it_begins_as_the_robots_own_dense_heads() -> None:
    network = build('cspnano', 3, 4).eval()
    remote = Remote(network).eval()
    image = torch.rand(2, 3, 64, 96) * 255
    with torch.no_grad():
        own = network(image)
        eyes, found = remote.extract(image), remote(image)
    assert torch.equal(found.segmentation, own.segmentation)
    assert torch.equal(found.depth, own.depth)
    assert eyes.features.s8.shape[2:] == (8, 12)
    assert eyes.pyramid.s8.shape[2:] == (8, 12)
    assert found.detection.classes.shape[2] == 3


def test_the_wide_head_is_heard_once_it_has_learned() -> None:
    network = build('cspnano', 3, 4).eval()
    remote = Remote(network).eval()
    image = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        before = remote(image)
        torch.nn.init.normal_(remote.wide.head.predict.weight)
        after = remote(image)
    assert not torch.allclose(after.segmentation, before.segmentation)
    assert not torch.allclose(after.depth, before.depth)


def test_it_is_larger_than_the_robots_network() -> None:
    image = [torch.zeros(1, 3, 320, 416)]
    network = build('cspnano')
    remote = count_macs(Remote(network), image)
    assert 1.8 * count_macs(network, image) < remote < 1.5e9


def test_blocks_give_what_the_network_gives() -> None:
    network = build('cspnano', 3, 4).eval()
    remote = Remote(network).eval()
    torch.nn.init.normal_(remote.wide.head.predict.weight, std=0.1)
    remote.calibration.copy_(torch.tensor([0.5, -1.0]))
    image = torch.rand(1, 3, 64, 96) * 255
    tensors = {'decoder/seen': image}
    with torch.no_grad():
        found = remote(image)
        for block in remote_blocks(remote, 'decoder/seen'):
            made = block.module(*(tensors[name] for name in block.inputs.values()))
            values = made if isinstance(made, tuple) else (made,)
            names = (f'{block.name}/{output}' for output in block.outputs)
            tensors |= dict(zip(names, values, strict=True))
    assert tensors['segmentation/class_ids'].shape == (1, 32, 48)
    torch.testing.assert_close(tensors['depth/depth_per_focal'], found.depth.exp())
    sides = found.detection.classes.amax(dim=2).sigmoid()
    cells = sides.shape[1]
    torch.testing.assert_close(tensors['sides/scores'][:, :cells], sides.sort(descending=True)[0])
    assert tensors['detection/scores'].shape == (1, 2 * CANDIDATES)
    surest = torch.logit(torch.cat((sides, tensors['cells/scores']), dim=1).max())
    # Calibrated, and both are no surer than one of them.
    assert float(tensors['detection/scores'].max()) <= float((0.5 * surest - 1).sigmoid()) + 1e-5
    boxes = tensors['detection/boxes']
    # A box reaches at most seven strides from its cell, in pixels.
    most = 64 * BINS
    assert float(boxes.abs().max()) <= 96 + most
