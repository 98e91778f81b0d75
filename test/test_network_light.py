# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Light heads: what is left of a dense head without its stride 4."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch')

from mt_perception.errors import ModelError
from mt_perception.network.dense import DenseHead, LightHead
from mt_perception.network.gated import GatedNetwork
from mt_perception.network.gates import count_unit_costs
from mt_perception.network.multitask import Multitask
from mt_perception.network.trunk import FEATURE_CHANNELS

torch.manual_seed(0)
FULL = Multitask(5, 4).eval().requires_grad_(False)
FEATURES = tuple(
    torch.rand(2, channels, 64 // stride, 96 // stride)
    for channels, stride in zip(FEATURE_CHANNELS.values(), (4, 8, 16, 32), strict=True)
)


@pytest.mark.parametrize('refined', [True, False])
def test_a_light_head_gives_the_same_map(refined: bool) -> None:
    dense = DenseHead(3)
    light = LightHead(dense, refined)
    assert light(FEATURES).shape == dense(FEATURES).shape == (2, 3, 16, 24)
    # What it does not read need not be given.
    torch.testing.assert_close(light(FEATURES), light(FEATURES[1:]))


def test_two_projections_become_one() -> None:
    dense = DenseHead(3)
    x = torch.rand(1, 64, 8, 8)
    folded = LightHead(dense, refined=True).predict(x)
    torch.testing.assert_close(folded, dense.predict(dense.reduce8(x)), rtol=1e-4, atol=1e-5)


def test_a_light_head_begins_as_the_dense_one_and_moves_alone() -> None:
    dense = DenseHead(3)
    light = LightHead(dense, refined=True)
    before = dense.refine16.mix.weight.clone()
    assert light.refine16.mix.weight.equal(before)
    with torch.no_grad():
        light.refine16.mix.weight.zero_()
    assert dense.refine16.mix.weight.equal(before)


def test_a_network_lends_its_light_heads() -> None:
    network = GatedNetwork(FULL, count_unit_costs(FULL, (64, 96)))
    view = network.with_light(('depth',))
    assert view.depth is network.light_depth
    assert view.segmentation is network.segmentation
    assert view.trunk is network.trunk


def test_a_light_network_is_no_full_one() -> None:
    prices = count_unit_costs(FULL, (64, 96))
    light = GatedNetwork(FULL, prices).with_light(('depth',))
    with pytest.raises(ModelError, match='reduced heads already'):
        GatedNetwork(light, prices)
