# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

from test_training_mt2st import ALL, one_phase, sets, state_of
from torch.utils.flop_counter import FlopCounterMode, conv_backward_flop

from mt_perception.training.data.batches import SampleSet, make_batch
from mt_perception.training.loop import train
from mt_perception.training.mac_counter import MacCounter
from mt_perception.training.recipe import Balancing
from mt_perception.training.run_record import LOG
from mt_perception.training.schedules.mt2st import Diminish, TaskSchedule

__all__ = ['sets']

ONLY_SEGMENTATION = replace(
    ALL.weights, detection=0, distillation=0, depth=0, depth_gradient=0, relative_depth=0
)


def grouped_backward(*shapes, out_shape, **_):  # type: ignore[no-untyped-def]
    """Give torch's count of a convolution's backward pass, which forgets the weights' groups."""
    count = conv_backward_flop.__wrapped__
    *head, groups, mask = shapes
    of_input = count(*head, groups, [mask[0], False, False], out_shape)
    of_weight = count(*head, groups, [False, mask[1], False], out_shape)
    return of_input + of_weight // groups


def both(recipe, sets, step=0):  # type: ignore[no-untyped-def]
    """Count a step twice: as we do, and as torch's own counter sees the operators."""
    state, phase = state_of(recipe, sets)
    batch = make_batch(sets, ((64, 96),), 4, 3, 0)
    mapping = {torch.ops.aten.convolution_backward: grouped_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as oracle:
        macs = state.step(batch, phase, step).macs
    counts = oracle.get_flop_counts()['Global']
    convolutions = sum(n for op, n in counts.items() if 'convolution' in str(op))
    return macs, convolutions // 2


@pytest.mark.parametrize(
    'fields',
    [
        {},
        {'learning_rates': {'segmentation': 1e-3, 'depth': 1e-3}, 'relative_rates': {}},
        {'learning_rates': {'depth': 1e-3, 'trunk': 1e-3, 'trunk.stem': 0, 'trunk.stage2': 0}},
        {'learning_rates': {'segmentation': 1e-3}, 'relative_rates': {},
         'weights': ONLY_SEGMENTATION},
        {'mt2st': TaskSchedule({'detection': Diminish(eta=9.0), 'depth': Diminish(eta=9.0)})},
    ],
    ids=['everything', 'frozen trunk', 'frozen beginning', 'one head', 'faded'],
)  # fmt: skip
def test_a_step_costs_what_torch_says(fields: dict[str, object], sets) -> None:  # type: ignore[no-untyped-def]
    ours, oracle = both(one_phase(**fields), sets, step=3)
    assert ours == oracle > 0


def test_balancing_by_gradients_costs_nothing_more(sets: tuple[SampleSet, ...]) -> None:
    plain, _ = both(one_phase(), sets)
    recipe = replace(one_phase(), balancing=Balancing('gradnorm'))
    ours, oracle = both(recipe, sets)
    assert ours == oracle == plain


def test_what_no_gradient_reaches_costs_nothing_backward() -> None:
    used, unused = torch.nn.Linear(3, 5), torch.nn.Linear(3, 7)
    meter = MacCounter((used, unused))
    x = torch.ones(2, 3)
    with meter.counting():
        loss = used(x).sum() + 0 * unused(x).detach().sum()
        loss.backward()
    assert meter.forward == 2 * 3 * 5 + 2 * 3 * 7
    assert meter.backward == 2 * 3 * 5, 'the weights alone: the input wants no gradient'
    used(x)
    assert meter.macs == 2 * 3 * (5 + 7 + 5), 'closed, it does not count'


def test_the_cost_is_logged_and_goes_on_after_a_pause(
    sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    from test_training_loop import LABELS

    spent: list[tuple[float, float]] = []
    for stop in (2, -1):
        for now in train(one_phase(), sets, LABELS, None, tmp_path):
            spent.append((now.gmacs, now.spent_gmacs))
            if now.step == stop:
                break
    each = [gmacs for gmacs, _ in spent]
    assert spent[-1][1] == pytest.approx(sum(each))
    rows = [row.split(',') for row in (tmp_path / LOG).read_text().splitlines()]
    logged = [float(value) for _, _, name, value in rows if name == 'gmacs']
    assert logged == pytest.approx(each, rel=1e-5)
