# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip('torch')

from mt_perception.network.gates import (
    SHARED,
    UnitCosts,
    budget_loss,
    count_unit_costs,
    gating,
    kept_by_any_task,
    sample_gates,
    without,
)
from mt_perception.network.macs import count_macs
from mt_perception.network.multitask import TASKS, Multitask, Outputs

SIZE = (64, 96)
IMAGE = 255 * torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope='module')
def network() -> Multitask:
    torch.manual_seed(0)
    return Multitask(5, 4).eval()


@pytest.fixture(scope='module')
def prices(network: Multitask) -> UnitCosts:
    return count_unit_costs(network, SIZE)


def tensors(outputs: Outputs) -> list[torch.Tensor]:
    assert outputs.detection is not None
    return [*outputs.detection, outputs.segmentation, outputs.depth]


@torch.no_grad()
def run(network: Multitask, prices: UnitCosts, keep: torch.Tensor) -> list[torch.Tensor]:
    with gating(network, prices.units, keep):
        return tensors(network(IMAGE))


def test_all_on_is_bit_for_bit_the_ungated_network(network: Multitask, prices: UnitCosts) -> None:
    gated = run(network, prices, torch.ones(2, len(prices.units)))
    with torch.no_grad():
        plain = tensors(network(IMAGE))
    assert all(a.equal(b) for a, b in zip(gated, plain, strict=True))


def test_a_skipped_unit_is_the_identity(network: Multitask, prices: UnitCosts) -> None:
    """Each unit alone: what the gates skip is what the static graph lacks."""
    for index, unit in enumerate(prices.units):
        keep = torch.ones(2, len(prices.units))
        keep[:, index] = 0
        with torch.no_grad():
            static = tensors(without(network, [unit.name])(IMAGE))
        gated = run(network, prices, keep)
        assert all(a.equal(b) for a, b in zip(gated, static, strict=True)), unit.name


def test_every_image_of_a_batch_has_its_own_gates(network: Multitask, prices: UnitCosts) -> None:
    keep = torch.ones(2, len(prices.units))
    keep[1] = 0
    both = run(network, prices, keep)
    on = run(network, prices, torch.ones(2, len(prices.units)))
    off = run(network, prices, torch.zeros(2, len(prices.units)))
    for mixed, full, skipped in zip(both, on, off, strict=True):
        torch.testing.assert_close(mixed[0], full[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mixed[1], skipped[1], rtol=1e-4, atol=1e-4)


def test_gating_leaves_nothing_behind(network: Multitask, prices: UnitCosts) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    run(network, prices, torch.zeros(2, len(prices.units)))
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_prices_are_the_macs_that_a_static_graph_saves(
    network: Multitask, prices: UnitCosts
) -> None:
    whole = count_macs(network, (IMAGE[:1],))
    for unit in prices.units[::3]:
        left = count_macs(without(network, [unit.name]), (IMAGE[:1],))
        # The scene's projection sees one cell, whatever the image's size.
        assert unit.share == pytest.approx((whole - left) / whole, abs=1e-9)
    assert sum(prices.parts.values()) == pytest.approx(1)


@given(st.lists(st.floats(0, 1), min_size=26, max_size=26), st.sampled_from(TASKS))
@settings(max_examples=20, deadline=None)
def test_costs_of_a_task_count_its_own_parts(values: list[float], task: str) -> None:
    prices = count_unit_costs(Multitask(5, 4), SIZE) if not _PRICES else _PRICES[0]
    _PRICES[:] = [prices]
    keep = torch.tensor([values])
    assert float(prices.cost(torch.ones_like(keep), (task,))) == pytest.approx(1)
    others = torch.tensor([u.owner not in (SHARED, task) for u in prices.units])
    changed = torch.where(others, 1 - keep, keep)
    assert float(prices.cost(keep, (task,))) == pytest.approx(float(prices.cost(changed, (task,))))


_PRICES: list[UnitCosts] = []


def test_the_hinge_has_no_force_under_the_budget() -> None:
    spent = torch.tensor([0.5, 0.9], requires_grad=True)
    budget_loss(spent, torch.tensor([0.6, 0.8])).backward()
    assert spent.grad is not None
    assert spent.grad[0] == 0
    assert spent.grad[1] > 0


def test_draws_are_zero_or_one_with_a_gradient() -> None:
    logits = torch.zeros(64, 8, requires_grad=True)
    drawn = sample_gates(logits, 1.0)
    assert set(drawn.detach().unique().tolist()) == {0.0, 1.0}
    drawn.sum().backward()
    assert logits.grad is not None
    assert bool((logits.grad > 0).all())


def test_a_gate_reaches_the_loss(network: Multitask, prices: UnitCosts) -> None:
    keep = torch.ones(2, len(prices.units), requires_grad=True)
    with gating(network, prices.units, keep):
        torch.stack([t.square().mean() for t in tensors(network(IMAGE))]).sum().backward()
    assert keep.grad is not None
    assert bool((keep.grad.abs().sum(dim=0) > 0).all())


@given(st.integers(0, 7))
@settings(max_examples=8, deadline=None)
def test_a_unit_stays_if_one_wanted_task_keeps_it(bits: int) -> None:
    prices = _PRICES[0] if _PRICES else count_unit_costs(Multitask(5, 4), SIZE)
    _PRICES[:] = [prices]
    wanted = torch.tensor([[float(bits >> t & 1) for t in range(3)]])
    keep = torch.zeros(1, 3, len(prices.units))
    keep[0, 1] = 1  # segmentation keeps all
    found = kept_by_any_task(keep, prices.units, wanted)[0]
    for unit, gate in zip(prices.units, found, strict=True):
        speaks = unit.owner in (SHARED, 'segmentation') and bool(wanted[0, 1])
        assert float(gate) == float(speaks)
