# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A cascade: its second stage learns alone, exports as it is, and gates that pay are chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')

from tiny_data import classes, write_coco

from mt_perception.errors import ModelError
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.model.folder import open_model, read_manifest
from mt_perception.network.cascade_graphs import BoxCertainty, MapCertainty
from mt_perception.network.macs import count_parameters
from mt_perception.network.multitask import Multitask, build
from mt_perception.network.picodet import PicoDet
from mt_perception.network.remote import Remote
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.planning.frame_state import FrameState
from mt_perception.training.cascade import train_dense_head as training
from mt_perception.training.cascade.cascade_recipe import CascadeRecipe, read_cascade_recipe
from mt_perception.training.cascade.fit_gates import choose, compare, fit, gains, thresholds
from mt_perception.training.cascade.observe import Observed
from mt_perception.training.cascade.platt_scaling import same_log_odds, to_logits
from mt_perception.training.cascade.train_dense_head import start_cascade, train_dense_head
from mt_perception.training.cascade.write_cascade import write_cascade
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.read_datasets import read_coco
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.split.split_recipe import Stage
from mt_perception.types import DETECTION, SEGMENTATION, Frame, Segmentation

ROOT = Path(__file__).resolve().parent.parent
STAGE = Stage(3, 2, ((64, 64),), 1e-3, warmup=1)
RECIPE = CascadeRecipe('', '', 0.75, 1, 1, 'float32', STAGE, checkpoint_every=1)


@pytest.fixture
def network() -> Multitask:
    torch.manual_seed(0)
    labels = classes()
    return build('cspnano', len(labels.detection), len(labels.segmentation)).eval()


@pytest.fixture
def remote(network: Multitask, monkeypatch: pytest.MonkeyPatch) -> Remote:
    monkeypatch.setattr(training, 'load_picodet', lambda detector, path: None)
    return start_cascade(network, RECIPE, Path(), {})


@pytest.fixture
def sets(tmp_path: Path) -> tuple[SampleSet, ...]:
    write_coco(tmp_path / 'coco')
    samples = read_coco(
        tmp_path / 'coco', classes(), 'train2017', 'panoptic', '', lambda key: True
    )
    return (SampleSet('coco', tuple(samples), 1.0),)


def test_the_detector_starts_from_the_mean_of_two(
    network: Multitask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ones(detector: PicoDet, path: Path) -> None:
        for parameter in detector.parameters():
            torch.nn.init.ones_(parameter)

    monkeypatch.setattr(training, 'load_picodet', ones)
    zeros = {
        name: torch.zeros_like(value)
        for name, value in Remote(network).state_dict().items()
        if name.startswith(('detector.', 'wide.'))
    }
    begun = start_cascade(network, RECIPE, Path(), zeros)
    assert all((p == 0.75).all() for p in begun.detector.parameters())
    assert all((p == 0).all() for p in begun.wide.parameters())
    with pytest.raises(ModelError, match=r'weights wide\.other of the cut'):
        start_cascade(network, RECIPE, Path(), {'wide.other': torch.zeros(1)})


def test_only_the_wide_head_learns_and_a_run_resumes(
    remote: Remote, sets: tuple[SampleSet, ...], tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in remote.state_dict().items()}
    other = Remote(
        build('cspnano', *(len(x) for x in (classes().detection, classes().segmentation)))
    )
    other.load_state_dict(before)
    steps = [now.step for now in train_dense_head(RECIPE, remote, sets, tmp_path / 'whole')]
    assert steps == [1, 2, 3]
    after = remote.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith('wide.') for name in changed)

    resumed: Iterator[object] = train_dense_head(RECIPE, other, sets, tmp_path / 'parts')
    next(resumed)
    resumed.close()  # type: ignore[attr-defined]
    list(train_dense_head(RECIPE, other, sets, tmp_path / 'parts'))
    assert all(torch.equal(value, after[name]) for name, value in other.state_dict().items())


@pytest.fixture(scope='module')
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of a base model and of a cascade on it."""
    torch.manual_seed(1)
    labels = classes()
    network = build('cspnano', len(labels.detection), len(labels.segmentation)).eval()
    root = tmp_path_factory.mktemp('cascade')
    card = ModelCard('base', '1', 'Apache-2.0', '', labels.detection, labels.segmentation)
    export_folder(network, card, root / 'base')
    remote = Remote(network).eval()
    torch.nn.init.normal_(remote.wide.head.predict.weight, std=0.5)
    write_cascade(remote, root / 'base', root / 'both', '2')
    return root / 'base', root / 'both'


def test_the_first_stage_is_the_base_model(folders: tuple[Path, Path]) -> None:
    base, both = folders
    manifest = read_manifest(both)
    assert (manifest.name, manifest.version) == ('both', '2')
    assert [path.name for path in manifest.paths.choices] == ['full', 'first']
    frame = Frame(np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8))
    alone = Pipeline.load(base).run(frame)
    first = Pipeline.load(both, budget=Budget(path='first')).run(frame)
    assert first.execution.macs == alone.execution.macs
    assert first.segmentation is not None
    assert alone.segmentation is not None
    assert alone.depth is not None
    assert first.depth is not None
    assert np.array_equal(first.segmentation.class_ids, alone.segmentation.class_ids)
    assert np.array_equal(first.depth.depth, alone.depth.depth, equal_nan=True)
    full = Pipeline.load(both).run(frame)
    assert full.segmentation is not None
    assert not np.array_equal(full.segmentation.class_ids, alone.segmentation.class_ids)
    assert full.execution.macs > 1.5 * alone.execution.macs
    blocks = manifest.graph.blocks
    assert blocks['picodet'].parameters == count_parameters(PicoDet(len(classes().detection)))
    shared = {'trunk', 'detection', 'depth'}
    for name in shared:
        assert open_model(both).contents[name] == open_model(base).contents[name]


def test_the_certainty_of_boxes() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 100, 100], [0, 0, 100, 100]]])
    scores, class_ids = torch.tensor([[0.3, 0.9, 0.4]]), torch.tensor([[2, 5, 2]])
    numbers = BoxCertainty()(scores, boxes, class_ids)[0]
    counts = numbers[:5].exp() - 1
    assert counts[[0, 1, 3]].tolist() == pytest.approx([1.6, 2, 0.3], abs=1e-3)
    assert counts[4] == pytest.approx(2 - np.exp(-0.9) - np.exp(-0.7), abs=1e-3)
    assert numbers[5] == pytest.approx(0.9)
    surer = BoxCertainty()(torch.tensor([[0.01, 0.99, 0.02]]), boxes, class_ids)[0]
    assert surer[2] < numbers[2]


def test_the_certainty_of_a_map() -> None:
    sure = torch.zeros(1, 3, 8, 8)
    sure[:, 0] = 50
    entropy, margin, uncertain = MapCertainty()(sure)[0].tolist()
    assert (entropy, margin, uncertain) == pytest.approx((0, 1, 0), abs=1e-3)
    entropy, margin, uncertain = MapCertainty()(torch.zeros(1, 3, 8, 8))[0].tolist()
    assert (entropy, margin, uncertain) == pytest.approx((np.log(3), 0, 1), abs=1e-3)


def observed(useful: bool) -> Observed:
    """Label maps of 60 images; the second stage corrects the wrong half of some of them."""
    rng = np.random.default_rng(0)
    labels = ('a', 'b')
    truth = rng.integers(0, 2, (60, 8, 8)).astype(np.uint8)
    needs = rng.random(60) < 0.4
    nothing = Frame(np.zeros((8, 8, 3), np.uint8))
    samples, first = [], []
    for index, right in enumerate(truth):
        given = right.copy()
        given[: 4 * needs[index]] = 1 - given[: 4 * needs[index]]
        first.append(Segmentation(given, labels))
        known = GroundTruth(segmentation=right, segmentation_labels=labels)
        samples.append(Sample(nothing, known, str(index), 'made'))
    both = [Segmentation(right, labels) for right in truth]
    numbers = rng.random((60, 3))
    if useful:
        numbers[:, 1] = needs + 0.2 * rng.random(60)
    return Observed(SEGMENTATION, samples, first, both, numbers)


def test_the_feature_that_predicts_the_gain_is_selected() -> None:
    seen = observed(useful=True)
    wanted = gains(seen)
    assert wanted.sum() == pytest.approx(1 - compare(seen, wanted).first, abs=0.1)
    assert choose(compare(seen, wanted)) == (1,)
    rule = fit(seen.numbers, wanted, (1,))
    needs = seen.numbers[:, 1] > 0.5
    assert rule.gains(seen.numbers)[needs].min() > rule.gains(seen.numbers)[~needs].max()


def test_without_a_useful_feature_the_mean_gain_is_predicted() -> None:
    seen = observed(useful=False)
    wanted = gains(seen)
    assert choose(compare(seen, wanted)) == ()
    predicted = fit(seen.numbers, wanted, ()).gains(seen.numbers)
    assert predicted == pytest.approx(np.full(60, wanted.sum()))


def test_thresholds_realise_budgets(folders: tuple[Path, Path]) -> None:
    manifest = read_manifest(folders[1])
    rng = np.random.default_rng(3)
    predicted = {DETECTION: rng.random(400), SEGMENTATION: rng.random(400)}
    table = thresholds(manifest, predicted)
    least = next(iter(table))
    assert least == pytest.approx(manifest.paths.choices[1].relative_macs, abs=0.01)
    full = sum(block.macs for block in manifest.graph.blocks.values())
    costs = {b.name: b.macs for b in manifest.graph.blocks.values()}
    for budget in (0.6, 0.8):
        detector = costs['picodet'] / full
        wide = (costs['picodet_backbone'] + costs['wide']) / full
        boxes = predicted[DETECTION] >= table[budget] * detector
        pixels = predicted[SEGMENTATION] >= table[budget] * wide
        spent = least + boxes * detector + pixels * wide
        assert spent.mean() == pytest.approx(budget, abs=0.02)


def test_a_cascade_without_gates_mixes_the_first_stage_and_the_full_path(
    folders: tuple[Path, Path],
) -> None:
    pipeline, state = Pipeline.load(folders[1], budget=Budget(compute=0.75)), FrameState()
    paths = [pipeline.run(np.zeros((64, 64, 3), np.uint8), state=state) for _ in range(12)]
    assert {result.execution.path for result in paths} == {'full', 'first'}


def test_the_shipped_recipe_is_read() -> None:
    recipe = read_cascade_recipe(ROOT / 'recipes' / 'cspnano_picodet.yaml')
    assert 0 < recipe.detector_share <= 1
    with pytest.raises(ModelError, match='detector_share must be from 0 to 1'):
        replace(recipe, detector_share=1.5)


def test_scores_agree_after_platt_scaling() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, 20_000)
    right = (rng.random(20_000) < 1 / (1 + np.exp(-logits))).astype(float)
    scores = 1 / (1 + np.exp(-logits))
    other = 1 / (1 + np.exp(-(0.5 * logits - 0.7)))
    slope, offset = same_log_odds((scores, right), (other, right))
    assert (slope, offset) == pytest.approx((2.0, 1.4), abs=0.1)
    assert slope * to_logits(other) + offset == pytest.approx(logits, abs=0.5)


@pytest.mark.parametrize('share', [0.0, 1.0])
def test_scores_of_detections_of_which_all_or_none_are_right_stay(share: float) -> None:
    scores = np.linspace(0.1, 0.9, 20)
    known = (scores, (scores > 0.5).astype(float) * 0.9)
    assert same_log_odds(known, (scores, np.full(20, share))) == (1.0, 0.0)
