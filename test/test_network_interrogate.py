# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

torch = pytest.importorskip('torch')

from mt_perception.network.branches import LEVELS, Branches, TaskFeatures
from mt_perception.network.interrogate import GatedTrunk, Gates, straight_through
from mt_perception.network.macs import count_macs, layer_macs
from mt_perception.network.multitask import TASKS
from mt_perception.network.prune import prune
from mt_perception.network.trunk import Features, Trunk

IMAGE = 255 * torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(3))
PREFIX = ('stem', 'stage2')


def random_trunk(seed: int) -> Trunk:
    """Weights of a size that keeps the features far from zero in every layer."""
    torch.manual_seed(seed)
    trunk = Trunk()
    for layer in trunk.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')
    return trunk


@pytest.fixture(scope='module')
def trunks() -> dict[str, Trunk]:
    """One trunk for each task and one to share, alike up to the gates as after training."""
    made = {name: random_trunk(seed) for seed, name in enumerate((*TASKS, 'shared'))}
    for name in PREFIX:
        weights = made['shared'].get_submodule(name).state_dict()
        for trunk in made.values():
            trunk.get_submodule(name).load_state_dict(weights)
    return made


@pytest.fixture
def gated(trunks: dict[str, Trunk]) -> GatedTrunk:
    own = {task: trunks[task] for task in TASKS}
    return GatedTrunk(trunks['shared'], own, dict.fromkeys(TASKS, 0.1), PREFIX)


@torch.no_grad()
def open_gates(gated: GatedTrunk, opened: torch.Tensor) -> None:
    """Open these gates, (T, N), and no others."""
    gated.gates.alpha.copy_(torch.where(opened, 1.0, -1.0))
    gated.gates.allowed.copy_(opened.to(gated.gates.costs) @ gated.gates.costs)
    assert gated.gates.opened().equal(opened)


def set_gates(gated: GatedTrunk, share: float, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        noise = torch.rand(gated.gates.alpha.shape, generator=generator)
        open_gates(gated, noise < share)
        gated.gates.beta.normal_(generator=generator)


def differences(ours: TaskFeatures, theirs: TaskFeatures) -> float:
    return max(
        float((a - b).abs().max() / a.abs().max())
        for task in TASKS
        for a, b in zip(getattr(ours, task), getattr(theirs, task), strict=True)
    )


def test_gates_are_hard_and_their_gradient_is_the_sigmoids() -> None:
    alpha = torch.tensor([-2.0, -1e-6, 0.0, 3.0], requires_grad=True)
    z = straight_through(alpha, alpha >= 0)
    assert z.tolist() == [0.0, 0.0, 1.0, 1.0]
    z.sum().backward()
    soft = alpha.detach().sigmoid()
    torch.testing.assert_close(alpha.grad, soft * (1 - soft))


def test_the_hinge_pulls_above_the_target_only_and_as_hard_as_a_filter_costs() -> None:
    gates = Gates(torch.tensor([1.0, 2.0, 5.0]), [0.4, 0.1])
    with torch.no_grad():
        gates.alpha.copy_(torch.tensor([[1.0, 1.0, -1.0], [1.0, 1.0, -1.0]]))
    gates.sparsity().backward()
    torch.testing.assert_close(gates.sparsity().detach(), torch.tensor((3 / 8 - 0.1) / 2))
    assert gates.alpha.grad is not None
    assert gates.alpha.grad[0].tolist() == [0, 0, 0]
    slope = gates.alpha.grad[1]
    torch.testing.assert_close(slope[2] / slope[0], torch.tensor(5.0))
    torch.testing.assert_close(slope[1] / slope[0], torch.tensor(2.0))


def test_the_gates_that_matter_most_stay_open_within_the_budget() -> None:
    """Whatever the sign of α: the hinge does not decide where the order is cut."""
    gates = Gates(torch.tensor([1.0, 2.0, 5.0, 2.0]), [0.3, 0.5])
    with torch.no_grad():
        gates.alpha.copy_(torch.tensor([[3.0, 2.0, 1.0, 0.5], [-4.0, -1.0, -3.0, -2.0]]))
    assert gates.opened().all()
    gates.tighten(1.0)
    assert gates.opened().tolist() == [[True, True, False, False], [False, True, False, True]]
    torch.testing.assert_close(gates.use(), torch.tensor([0.3, 0.4]))


@pytest.mark.parametrize('target', [0.0, 0.05, 0.1, 0.4, 1.0])
def test_realised_use_is_the_target_or_just_less(gated: GatedTrunk, target: float) -> None:
    gates = gated.gates
    with torch.no_grad():
        gates.targets.fill_(target)
        gates.alpha.normal_(generator=torch.Generator().manual_seed(2))
    allowed = []
    for step in range(20):
        gates.tighten((step + 1) / 20)
        allowed.append(float(gates.allowed[0]))
        assert (gates.use() <= gates.allowed + 1e-5).all()
    assert allowed == sorted(allowed, reverse=True)
    assert (gates.use() - target).abs().max() < 0.002


def test_all_gates_on_is_every_single_task_net(
    gated: GatedTrunk, trunks: dict[str, Trunk]
) -> None:
    set_gates(gated, 1.0)
    with torch.no_grad():
        found = gated(IMAGE)
        for task in TASKS:
            features: Features = trunks[task](IMAGE)
            for level, ours in zip(LEVELS[task], getattr(found, task), strict=True):
                torch.testing.assert_close(ours, getattr(features, level))


def test_all_gates_off_is_the_shared_net(gated: GatedTrunk, trunks: dict[str, Trunk]) -> None:
    set_gates(gated, 0.0)
    with torch.no_grad():
        found, features = gated(IMAGE), trunks['shared'](IMAGE)
    expected = {task: tuple(getattr(features, level) for level in LEVELS[task]) for task in TASKS}
    assert differences(found, TaskFeatures(**expected)) < 1e-4


def test_every_branch_and_gate_is_trained(gated: GatedTrunk) -> None:
    set_gates(gated, 0.5)
    found = gated(IMAGE)
    torch.stack([x.square().mean() for x in (*found.detection, *found.depth)]).sum().backward()
    without = {name for name, p in gated.named_parameters() if p.grad is None}
    # Only what segmentation's own head alone would have read.
    assert without <= {f'gated.bottom_up5_merge.own.1.conv.{kind}' for kind in ('weight', 'bias')}
    assert gated.gates.alpha.grad is not None
    # Segmentation has no loss here, but the shared branch reads what it made.
    assert (gated.gates.alpha.grad.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize('share', [0.0, 0.05, 0.5, 1.0])
def test_pruned_computes_what_unpruned_computes(gated: GatedTrunk, share: float) -> None:
    set_gates(gated, share, seed=7)
    with torch.no_grad():
        assert differences(gated(IMAGE), prune(gated)(IMAGE)) < 1e-4


def test_use_is_the_share_of_compute_that_is_left_after_pruning(gated: GatedTrunk) -> None:
    """Of every channel at most one task has its own, so that every shared filter is read."""
    channels = torch.arange(gated.gates.alpha.shape[1])
    open_gates(gated, torch.stack([channels % 4 == task for task in range(len(TASKS))]))
    with torch.no_grad():
        whole = count_macs(Trunk(), [IMAGE])
        pruned = prune(gated)
        use = gated.gates.use()
    found = layer_macs(pruned, IMAGE.shape[2:])
    gated_part = sum(
        count for name, count in layer_macs(Trunk(), IMAGE.shape[2:]).items()
        if name.split('.')[0] not in PREFIX
    )  # fmt: skip
    for task, share in zip(TASKS, use.tolist(), strict=True):
        own = sum(count for name, count in found.items() if name.endswith(f'-{task}'))
        assert own == pytest.approx(share * gated_part, rel=1e-5)
    assert count_macs(pruned, [IMAGE[:1]]) == pytest.approx(
        whole / 2 + float(use.sum()) * gated_part, rel=1e-5
    )


def test_what_nobody_reads_is_gone(gated: GatedTrunk) -> None:
    """A filter of the shared branch that every task replaced lives for nobody."""
    opened = torch.zeros_like(gated.gates.alpha, dtype=torch.bool)
    opened[:, gated.spans['bottom_up5.merge']] = True
    open_gates(gated, opened)
    with torch.no_grad():
        pruned = prune(gated)
        assert differences(gated(IMAGE), pruned(IMAGE)) < 1e-4
    assert not [name for name in pruned.reads if name == 'bottom_up5.merge-shared']
    assert 'bottom_up5.merge-depth' in pruned.reads


def parts(branches: Branches) -> dict[str, tuple[str, ...]]:
    return {part.name: part.steps for part in branches.parts()}


def test_who_specialised_nothing_reads_the_shared_path_itself(gated: GatedTrunk) -> None:
    set_gates(gated, 0.0)
    assert list(parts(prune(gated))) == ['trunk']
    assert count_macs(prune(gated), [IMAGE]) == count_macs(Trunk(), [IMAGE])


def test_a_task_branches_off_where_it_first_specialises(gated: GatedTrunk) -> None:
    opened = torch.zeros_like(gated.gates.alpha, dtype=torch.bool)
    opened[TASKS.index('detection'), gated.spans['bottom_up5.merge']] = True
    open_gates(gated, opened)
    with torch.no_grad():
        found = parts(prune(gated))
    # The others read the same features: no one's branch but the detector's.
    assert set(found) == {'trunk', 'trunk_detection', 'trunk_segmentation_depth'}
    assert found['trunk_detection'] == ('bottom_up5.merge-detection',)
    assert found['trunk_segmentation_depth'] == ('bottom_up5.merge-shared',)
