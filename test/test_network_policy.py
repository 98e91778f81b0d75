# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip('torch')

from mt_perception.network.gates import count_unit_costs
from mt_perception.network.macs import count_macs
from mt_perception.network.multitask import TASKS, Multitask
from mt_perception.network.policy import THUMBNAIL, GatePolicy, PathScores, thumbnail

COSTS = (1.0, 0.7, 0.5, 0.3)
torch.manual_seed(0)
NETWORK = Multitask(5, 4)
REFERENCE = (320, 416)


def picture(images: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (images, *THUMBNAIL, 3), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope='module')
def policy() -> PathScores:
    torch.manual_seed(2)
    return PathScores(NETWORK.trunk, COSTS).requires_grad_(False).eval()


def test_gates_begin_with_everything_on() -> None:
    gates = GatePolicy(NETWORK.trunk, count_unit_costs(NETWORK, (64, 96)).units)
    with torch.no_grad():
        logits = gates(picture(2).permute(0, 3, 1, 2).float(), torch.tensor([0.5, 1.0]))
    assert bool((logits > 1).all())


def test_any_resolution_is_seen_as_the_thumbnail() -> None:
    gates = GatePolicy(NETWORK.trunk, count_unit_costs(NETWORK, (64, 96)).units)
    coarse = picture()[:, ::8, ::8].permute(0, 3, 1, 2).float()
    resize = torch.nn.functional.interpolate
    image, large = (resize(coarse, scale_factor=n, mode='bilinear') for n in (8, 24))
    with torch.no_grad():
        small, other = (gates.glance.pool(thumbnail(x)) for x in (image, large))
    torch.testing.assert_close(small, other, rtol=0.05, atol=0.05)


def test_the_trunk_that_it_looks_through_stands_still() -> None:
    gates = GatePolicy(NETWORK.trunk, count_unit_costs(NETWORK, (64, 96)).units)
    logits = gates(picture().permute(0, 3, 1, 2).float(), torch.tensor([0.5]))
    logits.sum().backward()
    assert all(p.grad is None for p in gates.glance.stages.parameters())
    assert all(p.grad is None for p in NETWORK.parameters())
    assert gates.glance.mix.weight.grad is not None


def test_a_batch_is_its_images(policy: PathScores) -> None:
    images, tasks = picture(3), torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 2, 1]])
    budget = torch.tensor([[0.3], [0.6], [0.9]])
    together = policy(images, tasks, budget)
    for i in range(3):
        alone = policy(images[i : i + 1], tasks[i : i + 1], budget[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-5)
    assert together.equal(policy(images, tasks, budget))


@given(st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=25, deadline=None)
def test_less_budget_never_takes_a_dearer_path(first: float, second: float) -> None:
    torch.manual_seed(2)
    policy = PathScores(NETWORK.trunk, COSTS)
    low, high = sorted((first, second))
    with torch.no_grad():
        chosen = [
            COSTS[int(policy(picture(), torch.ones(1, 3), torch.tensor([[b]])).argmax())]
            for b in (low, high)
        ]
    assert chosen[0] <= chosen[1]


def test_a_task_that_is_not_wanted_has_no_say(policy: PathScores) -> None:
    losses = policy.predict(picture().permute(0, 3, 1, 2).float())
    for index in range(len(TASKS)):
        tasks = torch.zeros(1, 3)
        tasks[0, index] = 1.0
        scores = policy(picture(), tasks, torch.ones(1, 1))
        torch.testing.assert_close(scores, -losses[:, index])


def test_it_costs_at_most_three_per_cent(policy: PathScores) -> None:
    asked = count_macs(policy, (picture(), torch.ones(1, 3), torch.ones(1, 1)))
    whole = count_macs(Multitask(80, 15), (torch.zeros(1, 3, *REFERENCE),))
    assert asked <= 0.03 * whole
