# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')

import tiny_data

from mt_perception.errors import ModelError
from mt_perception.network.multitask import build
from mt_perception.training.checkpoint import FILE, load_checkpoint, phase_of
from mt_perception.training.data.batches import SampleSet, draw, make_batch
from mt_perception.training.data.read_datasets import read_coco, read_rgbd
from mt_perception.training.loop import LOG, Progress, train
from mt_perception.training.recipe import Phase, Recipe, Weights
from mt_perception.training.schedules.optimizer import make_optimizer, phase_at, rate_factor

EVERYTHING = Weights(
    detection=1, distillation=1, segmentation=1, self_training=1, depth=1, depth_gradient=1
)
HEADS = Phase('heads', 2, 2, Weights(segmentation=1, depth=1), {'segmentation': 1e-3}, {}, 1)
JOINT = Phase(
    'joint', 3, 2, EVERYTHING, {'segmentation': 1e-3, 'depth': 1e-3},
    {'trunk': 1e-3, 'detection': 1e-3}, 1,
)  # fmt: skip
RECIPE = Recipe(
    network='cspnano',
    initial_weights='',
    detection_labels='',
    voc_teacher='',
    relative_depth_teacher='',
    seed=3,
    threads=1,
    precision='float32',
    canvases=((64, 96), (96, 64)),
    sets=(),
    phases=(HEADS, JOINT),
    confidence=0.01,
    checkpoint_every=1,
)
CLASSES = tiny_data.classes()
LABELS = (CLASSES.detection, CLASSES.segmentation)


@pytest.fixture(scope='module')
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[SampleSet, ...]:
    folder = tmp_path_factory.mktemp('data')
    coco = read_coco(tiny_data.write_coco(folder / 'coco'), CLASSES)
    room = read_rgbd(tiny_data.write_rgbd(folder / 'room', 6), CLASSES, 500.0)
    return SampleSet('coco', tuple(coco), 2.0), SampleSet('room', tuple(room), 1.0)


def run(
    sets: tuple[SampleSet, ...], folder: Path, recipe: Recipe = RECIPE, stop: int | None = None
) -> list[Progress]:
    steps = []
    for now in train(recipe, sets, LABELS, None, folder):
        steps.append(now)
        if now.step == stop:
            break
    return steps


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = load_checkpoint(folder)
    return {f'{part}.{k}': v for part in ('network', 'average') for k, v in state[part].items()}


def assert_equal(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    different = [name for name, value in ours.items() if not torch.equal(value, theirs[name])]
    assert not different


@pytest.fixture(scope='module')
def whole(sets: tuple[SampleSet, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('whole')
    assert len(run(sets, folder)) == RECIPE.steps
    return folder


def test_the_same_seed_gives_the_same_weights(
    sets: tuple[SampleSet, ...], whole: Path, tmp_path: Path
) -> None:
    run(sets, tmp_path)
    assert_equal(whole, tmp_path)


@pytest.mark.parametrize('stop', [1, 2, 4])
def test_a_run_in_pieces_is_bit_equal_to_one_in_one_go(
    stop: int, sets: tuple[SampleSet, ...], whole: Path, tmp_path: Path
) -> None:
    assert run(sets, tmp_path, stop=stop)[-1].step == stop
    assert run(sets, tmp_path)[0].step == stop + 1
    assert_equal(whole, tmp_path)
    assert (tmp_path / LOG).read_text() == (whole / LOG).read_text()


def test_steps_behind_the_checkpoint_are_logged_once(
    sets: tuple[SampleSet, ...], whole: Path, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, checkpoint_every=2)
    run(sets, tmp_path, recipe, stop=3)
    assert run(sets, tmp_path, recipe)[0].step == 3
    assert (tmp_path / LOG).read_text() == (whole / LOG).read_text()


def test_another_seed_gives_other_weights(
    sets: tuple[SampleSet, ...], whole: Path, tmp_path: Path
) -> None:
    run(sets, tmp_path, replace(RECIPE, seed=4), stop=1)
    ours, theirs = weights(whole), weights(tmp_path)
    assert any(not torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_phase_moves_what_it_names_and_nothing_else(
    sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    torch.manual_seed(RECIPE.seed)
    before = build('cspnano', len(LABELS[0]), len(LABELS[1])).state_dict()
    run(sets, tmp_path, stop=2)
    after = load_checkpoint(tmp_path)['network']
    moved = {name.split('.')[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {'segmentation'}
    run(sets, tmp_path, stop=3)
    joint = load_checkpoint(tmp_path)['network']
    moved = {name.split('.')[0] for name in after if not torch.equal(after[name], joint[name])}
    assert moved == {'trunk', 'detection', 'segmentation', 'depth'}


def test_what_a_phase_freezes_keeps_its_average(
    sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    alone = replace(HEADS, name='alone', steps=3)
    recipe = replace(RECIPE, phases=(HEADS, JOINT, alone))
    run(sets, tmp_path, recipe, stop=HEADS.steps + JOINT.steps)
    before = load_checkpoint(tmp_path)['average']
    run(sets, tmp_path, recipe)
    after = load_checkpoint(tmp_path)['average']
    moved = {name.split('.')[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {'segmentation'}


def test_only_wanted_losses_are_computed(sets: tuple[SampleSet, ...], tmp_path: Path) -> None:
    first, *_, last = run(sets, tmp_path)
    assert set(first.losses) == {'segmentation', 'depth'}
    assert set(last.losses) == {
        'detection', 'distillation', 'segmentation', 'self_training', 'depth', 'depth_gradient',
    }  # fmt: skip
    assert all(value == value for value in last.losses.values()), 'no NaN'


def test_bfloat16_trains_too(sets: tuple[SampleSet, ...], tmp_path: Path) -> None:
    steps = run(sets, tmp_path, replace(RECIPE, precision='bfloat16'))
    assert all(0 <= v < 100 for now in steps for v in now.losses.values())


def test_other_classes_are_another_run(sets: tuple[SampleSet, ...], whole: Path) -> None:
    with pytest.raises(ModelError, match='other classes'):
        next(train(RECIPE, sets, (('cat',), LABELS[1]), None, whole))


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='training run'):
        load_checkpoint(tmp_path)


def test_a_checkpoint_that_executes_is_refused(tmp_path: Path) -> None:
    torch.save({'step': Path('x')}, tmp_path / FILE)
    with pytest.raises(ModelError, match=r'no checkpoint of tensors .* \(UnpicklingError\)'):
        load_checkpoint(tmp_path)


def test_a_batch_is_a_pure_function_of_seed_and_step(sets: tuple[SampleSet, ...]) -> None:
    once, again, other = (make_batch(sets, RECIPE.canvases, 2, 7, step) for step in (5, 5, 6))
    assert torch.equal(once.image, again.image)
    assert torch.equal(once.semantic, again.semantic)
    assert once.image.shape != other.image.shape or not torch.equal(once.image, other.image)
    assert once.image.is_contiguous(memory_format=torch.channels_last)


def test_sets_are_drawn_by_their_weights(sets: tuple[SampleSet, ...]) -> None:
    names = [draw(sets, 1, position).name.split('_')[0] for position in range(90)]
    for start in range(0, 90, 30):
        assert 18 <= names[start : start + 30].count('coco') <= 22


def test_a_checkpoint_without_its_phase_is_found_its_place() -> None:
    found = [phase_of({'step': step}, RECIPE.phases) for step in range(6)]
    assert found == [(0, 0), (0, 0), (1, 2), (1, 2), (1, 2), (2, 5)]
    assert phase_of({'step': 3, 'phase': 1, 'begun': 1}, RECIPE.phases) == (1, 1)


def test_phases_follow_each_other() -> None:
    assert phase_at(RECIPE.phases, 0) == (HEADS, 0)
    assert phase_at(RECIPE.phases, 2) == (JOINT, 2)
    with pytest.raises(IndexError):
        phase_at(RECIPE.phases, 5)


def test_the_rate_rises_and_falls() -> None:
    phase = replace(JOINT, steps=100, warmup=10)
    factors = [rate_factor(phase, step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == 1
    assert all(a >= b for a, b in pairwise(factors[10:]))
    assert factors[-1] < 0.03


def test_relative_steps_are_shares_of_each_filter() -> None:
    torch.manual_seed(0)
    network = build('cspnano')
    layer = network.trunk.lateral5.conv
    with torch.no_grad():
        layer.weight[0] *= 1000
    before = layer.weight.detach().clone()
    fresh = network.depth.predict.weight.detach().clone()
    optimizer = make_optimizer(network, JOINT, 0.1)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    sizes = before.square().mean(dim=(1, 2, 3)).sqrt()
    steps = (layer.weight - before).abs().amax(dim=(1, 2, 3))
    torch.testing.assert_close(steps, 1e-3 * sizes, rtol=0.02, atol=1e-6)
    step = (network.depth.predict.weight - fresh).abs().max().item()
    assert step == pytest.approx(1e-3, rel=0.02)


def test_the_longest_name_decides_and_zero_freezes() -> None:
    network = build('cspnano')
    phase = replace(JOINT, learning_rates={'depth': 1e-3, 'depth.predict': 0.0}, relative_rates={})
    groups = make_optimizer(network, phase, 0.1).param_groups
    trained = {id(p) for group in groups for p in group['params']}
    assert trained == {
        id(p) for n, p in network.depth.named_parameters() if not n.startswith('predict')
    }
    assert not network.depth.predict.weight.requires_grad
    biases = [g for g in groups if g['params'][0].ndim == 1]
    assert biases
    assert all(group['weight_decay'] == 0 for group in biases)


def test_the_end_of_a_phase_is_mixed_with_the_start(
    sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    start = build('cspnano', len(LABELS[0]), len(LABELS[1])).eval()

    def end(name: str, share: float) -> dict[str, torch.Tensor]:
        phase = replace(JOINT, start_share=share)
        recipe = replace(RECIPE, phases=(phase,))
        for _ in train(recipe, sets, LABELS, None, tmp_path / name, network=start):
            pass
        return load_checkpoint(tmp_path / name)['average']

    plain, mixed = end('plain', 0.0), end('mixed', 0.25)
    moved = 0
    for name, value in start.state_dict().items():
        torch.testing.assert_close(mixed[name], 0.75 * plain[name] + 0.25 * value)
        moved += not torch.equal(plain[name], value)
    assert moved > 50
