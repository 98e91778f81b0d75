# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip('torch')

import tiny_data
from test_training_loop import JOINT, LABELS, RECIPE, assert_equal, run

from mt_perception.errors import ModelError
from mt_perception.network.multitask import TASKS, Multitask, build
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.data.batches import SampleSet, make_batch
from mt_perception.training.data.read_datasets import read_coco, read_rgbd
from mt_perception.training.distributed import Process
from mt_perception.training.loop import train
from mt_perception.training.recipe import Phase, Recipe
from mt_perception.training.run_record import LOG
from mt_perception.training.run_state import RunState
from mt_perception.training.schedules.mt2st import (
    Diminish,
    Plateau,
    Switch,
    TaskSchedule,
    read_task_schedule,
)
from mt_perception.training.schedules.phases import TASK_OF

CLASSES = tiny_data.classes()
ALL = replace(JOINT, steps=4, batch_size=4, weights=replace(JOINT.weights, relative_depth=1.0))


@pytest.fixture(scope='module')
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[SampleSet, ...]:
    folder = tmp_path_factory.mktemp('data')
    coco = read_coco(tiny_data.write_coco(folder / 'coco'), CLASSES)
    room = read_rgbd(tiny_data.write_rgbd(folder / 'room', 6), CLASSES, 500.0)
    told = [replace(s, relative_depth_path=s.depth_path) for s in room]
    return SampleSet('coco', tuple(coco), 1.0), SampleSet('room', tuple(told), 1.0)


def one_phase(**fields: object) -> Recipe:
    return replace(RECIPE, phases=(replace(ALL, **fields),))  # type: ignore[arg-type]


def state_of(recipe: Recipe, sets: tuple[SampleSet, ...]) -> tuple[RunState, Phase]:
    state = RunState(recipe, sets, LABELS, None, None, Process())
    state.begin(recipe.phases[0])
    return state, recipe.phases[0]


def calls(network: Multitask) -> Counter[str]:
    counted: Counter[str] = Counter()
    for name in ('trunk', *TASKS):
        network.get_submodule(name).register_forward_hook(
            lambda *_, name=name: counted.update([name])
        )
    return counted


def test_a_task_fades_as_the_formula_says() -> None:
    schedule = Diminish(gamma=0.8, eta=0.3, nu=1.5)
    assert schedule.at(0) == 0.8
    assert schedule.at(4) == pytest.approx(0.8 * math.exp(-0.3 * 8))
    assert [Diminish().at(step) for step in (0, 1000)] == [1.0, 1.0]


def test_below_epsilon_a_task_weighs_nothing() -> None:
    schedule = TaskSchedule({'depth': Diminish(1.0, 1.0, 1.0)}, epsilon=0.1)
    assert schedule.factors(2, False)['depth'] == pytest.approx(math.exp(-2))
    assert schedule.factors(3, False) == {'detection': 1.0, 'segmentation': 1.0, 'depth': 0.0}


def test_diminish_and_switch_combine() -> None:
    schedule = TaskSchedule({'depth': Diminish(1.0, 0.5, 1.0)}, Switch(('segmentation',), at=3))
    assert schedule.factors(2, False)['depth'] == pytest.approx(math.exp(-1))
    assert schedule.factors(3, True) == {'detection': 0.0, 'segmentation': 1.0, 'depth': 0.0}


@pytest.mark.parametrize(
    ('figure', 'values', 'reached'),
    [
        ('miou', [0.1, 0.2, 0.3], False),
        ('miou', [0.1, 0.3, 0.3, 0.29], True),
        ('miou', [0.1, 0.3, 0.3, 0.35], False),
        ('miou', [0.3, 0.3], False),
        ('abs_rel', [0.3, 0.2, 0.2, 0.21], True),
        ('abs_rel', [0.3, 0.2, 0.15, 0.1], False),
    ],
)
def test_a_plateau_is_when_patience_ends(figure: str, values: list[float], reached: bool) -> None:
    history = [{figure: value} for value in values]
    assert Plateau(figure, patience=2, least=0.01).reached(history) is reached


def test_a_plateau_of_an_unknown_figure_is_said() -> None:
    with pytest.raises(ModelError, match='miou'):
        Plateau('mIoU').reached([{'miou': 0.1}])


@pytest.mark.parametrize('loss', [name for name, _ in TASK_OF.items()])
def test_every_auxiliary_term_has_a_gradient(loss: str, sets: tuple[SampleSet, ...]) -> None:
    """The published code of MT2ST adds auxiliary terms as detached numbers, without a gradient."""
    others = [task for task in TASKS if task != TASK_OF[loss]]
    weights = replace(
        ALL.weights, **{name: 0.0 for name, task in TASK_OF.items() if task == TASK_OF[loss]}
    )
    faded = TaskSchedule({TASK_OF[loss]: Diminish(0.5, 0.1, 1.0)})
    gradients = []
    for weight in (0.0, 1.0):
        with_it = replace(weights, **{loss: weight})
        state, phase = state_of(one_phase(weights=with_it, mt2st=faded), sets)
        with torch.no_grad():
            # Student and teacher agree at the beginning, where distillation has no gradient.
            for parameter in state.network.parameters():
                parameter += 0.01 * torch.randn_like(parameter)
        batch = make_batch(sets, ((64, 96),), 4, 3, 0)
        # No picture of these sets was shown to a teacher of pixels; its opinion is made up.
        said = torch.randint(0, 256, (4, len(CLASSES.segmentation), 16, 24), dtype=torch.uint8)
        boxes = tuple(batch.boxes[i] for i in range(4))
        state.step(replace(batch, soft_labels=said, teacher_boxes=boxes), phase, 3)
        gradients.append(
            {n: p.grad.clone() for n, p in state.network.named_parameters() if p.grad is not None}
        )
    without, with_term = gradients
    own = [n for n in with_term if n.startswith(TASK_OF[loss]) and with_term[n].abs().max() > 0]
    assert own, 'its head is moved by it'
    assert not [n for n in without if n.startswith(TASK_OF[loss])]
    changed = [
        n for n in without if n.startswith('trunk') and not torch.equal(without[n], with_term[n])
    ]
    assert changed, 'the trunk is moved by it'
    assert others


def test_what_weighs_nothing_does_not_run(sets: tuple[SampleSet, ...]) -> None:
    schedule = TaskSchedule(
        {'depth': Diminish(eta=1.0), 'detection': Diminish(eta=2.0)}, epsilon=0.1
    )
    state, phase = state_of(one_phase(mt2st=schedule), sets)
    student, original, average = (
        calls(n) for n in (state.network, state.teachers.original, state.average)
    )
    batch = make_batch(sets, ((64, 96),), 4, 3, 0)
    costs = [state.step(batch, phase, step).macs for step in range(4)]
    assert student == {'trunk': 4, 'segmentation': 4, 'depth': 3, 'detection': 2}
    assert original == {'trunk': 2, 'detection': 2}, 'nor does its teacher'
    assert average == {'trunk': 4, 'segmentation': 4}
    assert costs[0] == costs[1] > costs[2] > costs[3]


@pytest.mark.parametrize('trunk', ['frozen', 'trained'])
def test_after_a_switch_the_primary_is_alone(trunk: str, sets: tuple[SampleSet, ...]) -> None:
    switch = Switch(('segmentation',), at=2, trunk=trunk)
    state, phase = state_of(one_phase(mt2st=TaskSchedule(switch=switch)), sets)
    student = calls(state.network)
    batch = make_batch(sets, ((64, 96),), 4, 3, 0)
    for step in range(2):
        state.switch_if_due(phase, step)
        state.step(batch, phase, step)
    before = {n: p.clone() for n, p in state.network.named_parameters()}
    state.switch_if_due(phase, 2)
    rests = {n: p.clone() for n, p in state.average.named_parameters()}
    state.step(batch, phase, 2)
    assert student == {'trunk': 3, 'segmentation': 3, 'depth': 2, 'detection': 2}
    graded = {n.split('.')[0] for n, p in state.network.named_parameters() if p.grad is not None}
    assert graded == ({'segmentation'} if trunk == 'frozen' else {'trunk', 'segmentation'})
    moved = {
        n.split('.')[0]
        for n, p in state.average.named_parameters()
        if not torch.equal(p, rests[n])
    }
    assert moved == graded, 'the averaged weights, which are exported, move no more than that'
    assert any(not torch.equal(before[n], p) for n, p in state.network.named_parameters())


def test_specialisation_leaves_the_other_outputs_as_they_are(
    sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    """Each task in turn on a frozen trunk: the others' outputs stay bit-equal."""
    phases = [ALL]
    for task in TASKS:
        schedule = TaskSchedule({other: Diminish(eta=0.5) for other in TASKS if other != task})
        names = {name: float(kind == task) for name, kind in TASK_OF.items()}
        alone = replace(
            ALL, name=task, steps=2, learning_rates={task: 1e-3}, relative_rates={},
            weights=replace(ALL.weights, **names), mt2st=schedule,
        )  # fmt: skip
        phases.append(alone)
    image = torch.rand(1, 3, 64, 96) * 255
    outputs = []
    recipe = replace(RECIPE, phases=tuple(phases))
    for stop in (4, 6, 8, 10):
        run(sets, tmp_path, recipe, stop=stop)
        state = load_checkpoint(tmp_path)
        network = build('cspnano', len(LABELS[0]), len(LABELS[1]))
        network.load_state_dict(state['average'])
        outputs.append(network.eval()(image))
    for before, after, task in zip(outputs, outputs[1:], TASKS, strict=False):
        for other in TASKS:
            pairs = zip(
                *(list(getattr(o, other)) if other == 'detection' else [getattr(o, other)]
                  for o in (before, after)), strict=True
            )  # fmt: skip
            same = all(torch.equal(a, b) for a, b in pairs)
            assert same is (other != task)


def figures(values: list[float]):  # type: ignore[no-untyped-def]
    given = iter(values)
    return lambda network: {'miou': next(given)}


def trained(
    recipe: Recipe, sets: tuple[SampleSet, ...], folder: Path, values: list[float], stop: int = -1
) -> list[Mapping[str, float]]:
    told = []
    for now in train(recipe, sets, LABELS, None, folder, figures(values)):
        told.append(now.controls)
        if now.step == stop:
            break
    return told


def test_a_plateau_switches_and_a_resumed_run_remembers(
    sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    switch = Switch(('depth', 'segmentation'), plateau=Plateau('miou', 1))
    phase = {'steps': 6, 'batch_size': 2, 'mt2st': TaskSchedule(switch=switch)}
    recipe = replace(one_phase(**phase), validate_every=1)
    values = [0.1, 0.2, 0.2, 0.3, 0.4, 0.5]
    told = trained(recipe, sets, tmp_path / 'whole', values)
    assert [t['gamma/detection'] for t in told] == [1, 1, 1, 0, 0, 0]
    trained(recipe, sets, tmp_path / 'pieces', values, stop=2)
    trained(recipe, sets, tmp_path / 'pieces', values[2:], stop=4)
    trained(recipe, sets, tmp_path / 'pieces', values[4:])
    assert_equal(tmp_path / 'whole', tmp_path / 'pieces')
    logs = [(tmp_path / name / LOG).read_text() for name in ('whole', 'pieces')]
    assert logs[0] == logs[1]


def test_a_phase_ends_early_at_its_plateau(sets: tuple[SampleSet, ...], tmp_path: Path) -> None:
    first = replace(ALL, steps=20, batch_size=2, stop=Plateau('miou', 1))
    second = replace(ALL, name='second', steps=2, batch_size=2)
    recipe = replace(RECIPE, phases=(first, second), validate_every=1)
    values = [0.1, 0.2, 0.2, 0.3, 0.3]
    for folder, stops in (('whole', ()), ('pieces', (3,))):
        done = 0
        for stop in (*stops, -1):
            told = trained(recipe, sets, tmp_path / folder, values[done:], stop)
            done += len(told)
        assert done == 5
    assert_equal(tmp_path / 'whole', tmp_path / 'pieces')
    assert load_checkpoint(tmp_path / 'whole')['phase'] == 2
    assert not trained(recipe, sets, tmp_path / 'whole', []), 'it is finished'


@pytest.mark.parametrize(
    ('section', 'said'),
    [
        ({'diminish': {'doors': {'eta': 1}}}, "unknown tasks .*'doors'"),
        ({'diminish': {'depth': {'eta': -1}}}, 'eta.*at least 0'),
        ({'diminish': {'depth': {'speed': 1}}}, 'unknown fields: speed'),
        ({'switch': {'to': ['depth']}}, 'either `at`'),
        ({'switch': {'to': 'depth', 'at': 1, 'plateau': {'metric': 'ap'}}}, 'either `at`'),
        ({'switch': {'to': [], 'at': 1}}, 'name at least one task'),
        ({'switch': {'to': 'depth', 'at': 1, 'trunk': 'melted'}}, 'melted'),
        ({'switch': {'to': 'depth', 'plateau': {'metric': 'ap', 'patience': 0}}}, 'patience'),
        ({'epsilon': 'small'}, 'epsilon'),
    ],
)
def test_what_is_wrong_in_the_section_is_named(section: dict[str, object], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        read_task_schedule(section)


def test_the_section_is_read() -> None:
    text = """
    epsilon: 0.05
    diminish: {depth: {gamma: 0.5, eta: 0.01, nu: 2}}
    switch: {to: segmentation, plateau: {figure: miou, patience: 3, least: 0.002}}
    """
    schedule = read_task_schedule(yaml.safe_load(text))
    assert schedule.diminish == {'depth': Diminish(0.5, 0.01, 2)}
    assert schedule.switch == Switch(('segmentation',), plateau=Plateau('miou', 3, 0.002))
    assert schedule.epsilon == 0.05
