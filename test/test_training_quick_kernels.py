# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fast kernels: the same network, with the same names, in other layouts."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip('torch')

from mt_perception.network.multitask import build
from mt_perception.network.picodet import PicoDet
from mt_perception.training.cpu_bfloat16 import Float32Conv, prepare_for_bfloat16


@pytest.mark.parametrize('make', [lambda: build('cspnano', 3, 4).trunk, PicoDet])
def test_a_quickened_network_computes_the_same(make) -> None:
    torch.manual_seed(0)
    network = make()
    quick = copy.deepcopy(network)
    prepare_for_bfloat16(quick)
    assert any(isinstance(module, Float32Conv) for module in quick.modules())
    assert list(quick.state_dict()) == list(network.state_dict())
    image = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        for ours, theirs in zip(quick(image), network(image), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_wide_convolutions_keep_the_type_of_their_input() -> None:
    network = build('cspnano', 3, 4).trunk
    prepare_for_bfloat16(network)
    wide = next(m for m in network.modules() if isinstance(m, Float32Conv))
    x = torch.randn(1, wide.in_channels, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        made = wide(x)
    assert made.dtype == torch.bfloat16
    made.float().square().sum().backward()
    assert wide.weight.grad is not None
