# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip('torch')

from mt_perception.errors import ModelError
from mt_perception.model.folder import open_model
from mt_perception.network.gated import GatedNetwork
from mt_perception.network.gates import count_unit_costs
from mt_perception.network.multitask import Multitask
from mt_perception.network.policy import THUMBNAIL
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_policy import PolicyNet
from mt_perception.training.data.batches import Batch
from mt_perception.training.data.samples import Boxes
from mt_perception.training.export.write_model import INPUT, ModelCard, export_folder
from mt_perception.training.gating.add_paths import full_network, has_paths, static
from mt_perception.training.gating.masks import Shrink, gather_masks, shrink
from mt_perception.training.gating.path_losses import completed, relative
from mt_perception.training.gating.train_path_policy import (
    calibrate,
    choose_paths,
    export_policy,
    train_policy,
)
from mt_perception.training.recipe import PathSpec, read_gating, read_recipe
from mt_perception.types import Frame

SIZE = (64, 96)
COSTS = (1.0, 0.7, 0.5, 0.3)
ROOT = Path(__file__).resolve().parent.parent


@given(st.lists(st.floats(0, 1), min_size=26, max_size=26))
@settings(max_examples=10, deadline=None)
def test_masks_are_nested_and_within_their_price(keep: list[float]) -> None:
    prices = count_unit_costs(Multitask(5, 4), SIZE)
    specs = [PathSpec('a', 1.0, 0.95), PathSpec('b', 0.7, 0.85), PathSpec('c', 0.6, 0.85)]
    masks = gather_masks(prices, torch.tensor(keep), specs)
    assert set(masks[0].skipped) < set(masks[1].skipped)
    assert masks[1].skipped == masks[2].skipped
    for mask, spec in zip(masks, specs, strict=True):
        left = 1 - sum(u.share for u in prices.units if u.name in mask.skipped)
        assert left <= spec.compute + 1e-6


def test_a_light_head_has_nothing_to_skip() -> None:
    prices = count_unit_costs(Multitask(5, 4), SIZE)
    light = PathSpec('a', 1.0, 0.8, light=('segmentation', 'depth'))
    (mask,) = gather_masks(prices, torch.zeros(len(prices.units)), [light])
    assert not any(name.startswith(('segmentation', 'depth')) for name in mask.skipped)
    assert mask.changes == (mask.skipped, ('segmentation', 'depth'))


def test_what_is_missed_least_leaves_first() -> None:
    prices = count_unit_costs(Multitask(5, 4), SIZE)
    keep = torch.linspace(0, 1, len(prices.units))
    (mask,) = gather_masks(prices, keep, [PathSpec('a', 1.0, 0.97)])
    assert set(mask.skipped) == {u.name for u in prices.units[: len(mask.skipped)]}


def batch(size: tuple[int, int]) -> Batch:
    h, w = size
    image = torch.arange(h * w * 3, dtype=torch.float32).reshape(1, 3, h, w)
    ramp = (image % 255).to(torch.uint8)
    boxes = Boxes(np.array([[8, 8, 40, 24]], np.float32), np.array([2]), complete=True)
    return Batch(
        clean=ramp,
        image=ramp,
        boxes=(boxes,),
        semantic=torch.ones(1, h // 4, w // 4, dtype=torch.int64),
        depth_per_focal=torch.full((1, h // 4, w // 4), 0.01),
        relative_depth=torch.full((1, h // 4, w // 4), 0.5),
        inside=torch.ones(1, h // 4, w // 4, dtype=torch.bool),
    )


def test_a_smaller_view_keeps_the_scene() -> None:
    how = Shrink((320, 416), 0.77)
    small = shrink(batch((320, 416)), how)
    assert small.image.shape == (1, 3, 256, 320)
    assert small.semantic.shape == small.inside.shape == (1, 64, 80)
    # Below the picture is border: no label, no depth.
    assert bool((small.semantic[0, -1] == 255).all())
    assert not bool(small.inside[0, -1].any())
    assert float(small.depth_per_focal[0, 0, 0]) == pytest.approx(0.01 / how.scale)
    assert small.boxes[0] is not None
    np.testing.assert_allclose(small.boxes[0].corners[0], how.scale * np.array([8, 8, 40, 24]))


def test_a_path_is_a_model_without_what_it_skips(tmp_path: Path) -> None:
    torch.manual_seed(0)
    full = Multitask(5, 4).eval()
    prices = count_unit_costs(full, SIZE)
    lighter = GatedNetwork(full, prices).eval()
    skipped = [u.name for u in prices.units[::4] if u.owner != 'depth']
    network = static(lighter, skipped, ('depth',))
    card = ModelCard('path', '1', 'MIT', '', tuple('abcde'), tuple('fghi'))
    export_folder(network, card, tmp_path)
    macs = {b.name: b.macs for b in open_model(tmp_path).manifest.graph.blocks.values()}
    export_folder(full, card, tmp_path / 'full')
    whole = {b.name: b.macs for b in open_model(tmp_path / 'full').manifest.graph.blocks.values()}
    assert all(macs[name] <= whole[name] for name in whole)
    assert macs['trunk'] < whole['trunk']
    assert macs['depth'] < 0.5 * whole['depth']
    result = Pipeline.load(tmp_path).run(Frame(np.zeros((60, 80, 3), np.uint8)))
    assert not result.failures


def test_the_full_network_of_a_checkpoint_is_the_one_it_started_from() -> None:
    full = Multitask(5, 4)
    state = {
        'name': 'cspnano',
        'full': full.state_dict(),
        'detection_labels': list('abcde'),
        'segmentation_labels': list('fghi'),
    }
    again = full_network(state).state_dict()
    assert all(value.equal(again[name]) for name, value in full.state_dict().items())


def test_losses_become_comparable() -> None:
    rng = np.random.default_rng(0)
    losses = rng.random((40, 3, 4)).astype(np.float32)
    labelled = rng.random((40, 3)) < 0.5
    found = relative(losses, labelled)
    assert np.all(found[:, :, 0] == 0)
    assert np.isfinite(found).all()


def test_a_judge_adds_what_nobody_labelled() -> None:
    people = Boxes(np.array([[0, 0, 8, 8]], np.float32), np.array([0]), complete=False)
    seen = Boxes(np.array([[1, 1, 9, 9], [4, 4, 20, 20]], np.float32), np.array([0, 3]), True)
    both = completed(people, seen)
    assert both.classes.tolist() == [0, 3]
    np.testing.assert_array_equal(both.corners, [[0, 0, 8, 8], [4, 4, 20, 20]])
    assert completed(None, seen) is seen


def test_the_policy_learns_what_pictures_show(tmp_path: Path) -> None:
    """Bright pictures lose nothing on light paths, dark ones do: half the paths each."""
    torch.manual_seed(0)
    full = Multitask(5, 4).eval()
    rng = np.random.default_rng(0)
    bright = rng.random(120) < 0.5
    pictures = rng.integers(0, 60, (120, *THUMBNAIL, 3)).astype(np.uint8)
    pictures[bright] += 150
    losses = np.zeros((120, 3, 4), np.float32)
    losses[~bright, :, 1:] = (0.2, 0.4, 0.6)
    policy = train_policy(full, COSTS, pictures, losses, seed=0)
    path = tmp_path / 'policy.onnx'
    export_policy(policy, path)
    with torch.no_grad():
        images = torch.from_numpy(pictures)
        scores = policy(images, torch.ones(120, 3), torch.full((120, 1), 0.6))
    chosen = scores.argmax(dim=1).numpy()
    assert np.mean(chosen[bright] == 3) > 0.9
    assert np.mean(chosen[~bright] == 0) > 0.9


@given(st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_calibration_hits_the_budget_where_paths_can(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = rng.random((400, 1)).astype(np.float32)
    losses = scale * np.array([0, 0.05, 0.15, 0.4], np.float32)
    table = calibrate(losses, COSTS, own=0.02)
    fed = list(table.values())
    assert fed == sorted(fed)
    for wanted in (0.4, 0.6, 0.8):
        spent = np.asarray(COSTS)[choose_paths(losses, COSTS, table[wanted])].mean() + 0.02
        assert abs(spent - wanted) <= 0.05


def test_the_recipe_of_the_paths_is_read() -> None:
    recipe = read_recipe(ROOT / 'recipes' / 'paths.yaml')
    assert recipe.gating is not None
    sizes = [INPUT.side(INPUT.size, path.scale) for path in recipe.gating.paths]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    'data',
    [
        {'paths': []},
        {'paths': [{'name': 'a', 'scale': 1.2, 'compute': 0.5}]},
        {
            'paths': [
                {'name': 'a', 'scale': 1.0, 'compute': 0.5},
                {'name': 'b', 'scale': 1.0, 'compute': 0.6},
            ]
        },
        {'paths': [{'name': 'a', 'scale': 1.0, 'compute': 0.5}], 'more': 1},
        {'paths': [{'name': 'a', 'scale': 1.0, 'compute': 0.5, 'light': ['detection']}]},
    ],
)
def test_a_bad_section_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ModelError):
        read_gating(data)


def test_a_run_of_another_kind_has_no_paths(tmp_path: Path) -> None:
    assert not has_paths(tmp_path)


def test_the_runtime_reads_the_policy_that_is_shipped() -> None:
    model = open_model(ROOT / 'models' / 'cspnano')
    if model.manifest.paths.policy is None:
        pytest.skip('the model has no policy')
    policy = PolicyNet(model)
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    scores = policy(image, [1.0, 1.0, 1.0], 0.5)
    assert len(scores) == len(model.manifest.paths.choices)
    np.testing.assert_array_equal(scores, policy(image, [1.0, 1.0, 1.0], 0.5))
