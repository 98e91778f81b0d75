# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

from test_training_loop import LABELS, RECIPE, assert_equal, run, weights
from test_training_mt2st import ALL, one_phase, sets, state_of

from mt_perception.errors import ModelError
from mt_perception.network.multitask import TASKS
from mt_perception.network.trunk import Features
from mt_perception.training.data.batches import SampleSet, make_batch
from mt_perception.training.losses.balancing import (
    Balance,
    GradNorm,
    SharedGradients,
    Uncertainty,
    make_balance,
)
from mt_perception.training.recipe import Balancing
from mt_perception.training.schedules.mt2st import Diminish, TaskSchedule

__all__ = ['sets']

GRADNORM = Balancing('gradnorm', rate=0.1, alpha=0.0)
UNCERTAINTY = Balancing('uncertainty', rate=0.01)


def test_fixed_weights_are_the_recipe_s() -> None:
    losses = {'depth': torch.tensor(3.0)}
    assert make_balance(Balancing())(losses) == losses
    assert Balance().weights() == {}


def test_uncertainty_finds_the_noise_of_each_task() -> None:
    """For a loss L that stands still: σ² = L where a task regresses, 2 L where it classifies."""
    balance = Uncertainty()
    losses = dict(zip(TASKS, torch.tensor([4.0, 0.5, 0.09]), strict=True))
    optimizer = torch.optim.Adam(balance.parameters(), 0.05)
    for _ in range(800):
        optimizer.zero_grad()
        torch.stack(list(balance(losses).values())).sum().backward()
        optimizer.step()
    variance = balance.log_variance.detach().exp()
    torch.testing.assert_close(variance, torch.tensor([8.0, 1.0, 0.09]), rtol=1e-3, atol=0)
    assert balance.weights()['depth'] == pytest.approx(0.5 / 0.09, rel=1e-3)


def test_uncertainty_leaves_out_what_does_not_run() -> None:
    balance = Uncertainty()
    balance({'depth': torch.tensor(1.0)})['depth'].backward()
    gradient = balance.log_variance.grad
    assert gradient is not None
    assert gradient.nonzero().flatten().tolist() == []  # e^-0 · 1 / 2 is already the optimum
    balance({'depth': torch.tensor(2.0)})['depth'].backward()
    assert gradient.nonzero().flatten().tolist() == [TASKS.index('depth')]


def test_gradnorm_makes_the_norms_equal() -> None:
    """With α = 0 the fixed point is w_i ∝ 1 / |∇L_i|, with Σ w_i as it was."""
    balance = GradNorm(alpha=0.0, rate=0.1)
    slopes = torch.tensor([100.0, 1.0, 0.04])
    for _ in range(200):
        norms = {t: balance.weight[i] * slopes[i] for i, t in enumerate(TASKS)}
        balance.observe(norms, {t: torch.tensor(1.0) for t in TASKS})
    wanted = 3 / slopes / (1 / slopes).sum()
    torch.testing.assert_close(balance.weight, wanted, rtol=1e-4, atol=0)


def test_gradnorm_pulls_the_task_that_lags_behind() -> None:
    """Equal slopes, but one task has not got anywhere: norms go as r_i^α (equation 2)."""
    balance = GradNorm(alpha=1.0, rate=0.1)
    balance.observe({t: torch.tensor(1.0) for t in TASKS}, {t: torch.tensor(2.0) for t in TASKS})
    now = dict(zip(TASKS, torch.tensor([1.0, 1.0, 2.0]), strict=True))
    for _ in range(200):
        balance.observe({t: balance.weight[i].clone() for i, t in enumerate(TASKS)}, now)
    torch.testing.assert_close(balance.weight, torch.tensor([0.75, 0.75, 1.5]))


def test_gradnorm_does_not_judge_what_has_no_label() -> None:
    balance = GradNorm(alpha=1.0, rate=0.5)
    norms = dict(zip(TASKS, torch.tensor([0.0, 1.0, 4.0]), strict=True))
    balance.observe(norms, {t: torch.tensor(1.0) for t in TASKS})
    assert balance.weight[0] == 1
    assert float(balance.weight.sum()) == pytest.approx(3)
    assert float(balance.first[0]) == 0


def test_the_split_changes_no_gradient(sets: tuple[SampleSet, ...]) -> None:
    batch = make_batch(sets, ((64, 96),), 4, 3, 0)
    gradients = []
    # A rate of zero keeps every weight at one: nothing but the way of the gradients differs.
    for balancing in (Balancing(), Balancing('gradnorm', rate=0.0)):
        state, phase = state_of(replace(one_phase(), balancing=balancing), sets)
        state.step(batch, phase, 0)
        gradients.append([p.grad for p in state.network.parameters()])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_the_split_wants_shared_features() -> None:
    with pytest.raises(ModelError, match='one trunk'):
        SharedGradients().split(('no', 'features'), TASKS)


def test_the_split_tells_the_norms_apart() -> None:
    given = Features(*(torch.ones(1, 2, 2, 2, requires_grad=True) for _ in range(4)))
    features = Features(*(2 * level for level in given))
    shared = SharedGradients()
    leaves = shared.split(features, ('depth', 'detection'))
    loss = 3 * leaves['depth'].s4.sum() + 5 * leaves['detection'].s8.sum()
    loss.backward()
    norms = shared.norms()
    assert float(norms['depth']) == pytest.approx(3 * 8**0.5)
    assert float(norms['detection']) == pytest.approx(5 * 8**0.5)
    shared.backward()
    found = [None if level.grad is None else float(level.grad[0, 0, 0, 0]) for level in given]
    assert found == [6, 10, None, None]


@pytest.mark.parametrize('balancing', [GRADNORM, UNCERTAINTY], ids=lambda b: b.kind)
def test_a_balanced_run_in_pieces_is_bit_equal(
    balancing: Balancing, sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    recipe = replace(RECIPE, balancing=balancing)
    run(sets, tmp_path / 'whole', recipe)
    run(sets, tmp_path / 'pieces', recipe, stop=4)
    told = run(sets, tmp_path / 'pieces', recipe)[-1].controls
    assert_equal(tmp_path / 'whole', tmp_path / 'pieces')
    assert {f'balance/{task}' for task in TASKS} == set(told)
    assert len(set(told.values())) == 3, 'the weights have moved apart'
    assert weights(tmp_path / 'whole')


def test_balancing_by_gradients_works_in_bfloat16(
    sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    recipe = replace(RECIPE, balancing=GRADNORM, precision='bfloat16')
    steps = run(sets, tmp_path, recipe)
    assert all(0 <= value < 100 for now in steps for value in now.losses.values())
    assert all(value > 0 for value in steps[-1].controls.values())


def test_fading_is_not_balanced_away(sets: tuple[SampleSet, ...]) -> None:
    """GradNorm sees the norms without γ, so that a faded task stays faded."""
    batch = make_batch(sets, ((64, 96),), 4, 3, 0)
    balances = []
    for eta in (0.0, 1.0):
        schedule = TaskSchedule({'depth': Diminish(eta=eta)}, epsilon=0.001)
        recipe = replace(one_phase(mt2st=schedule), balancing=GRADNORM)
        state, phase = state_of(recipe, sets)
        state.step(batch, phase, 3)
        balances.append(state.balance.weights())
    assert balances[0] == pytest.approx(balances[1], rel=1e-4)
    assert LABELS
    assert ALL.steps
