# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cutting a network: it compresses from the start, learns, resumes, and exports what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from test_training_processes import run_processes
from torch.nn import functional

from mt_perception.errors import ModelError
from mt_perception.execution.frame_run import run_plan
from mt_perception.model.manifest import parse_manifest
from mt_perception.network.bottleneck import CHANNELS, DECODED_RANGE, GDN, Bottleneck, UndoGDN
from mt_perception.network.macs import count_macs
from mt_perception.network.multitask import build
from mt_perception.network.picodet import PicoDet
from mt_perception.network.remote import Remote
from mt_perception.network.split_graphs import DecoderGraph, EncoderGraph
from mt_perception.offload.codec import LatentCodec
from mt_perception.offload.split_model import RemoteModel, SplitEncoder
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_plan import full_plan
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.data.batches import SampleSet, make_batch, view_of_image
from mt_perception.training.data.samples import Sample
from mt_perception.training.distributed import Process
from mt_perception.training.export.torch_runner import TorchSplitRunner
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.schedules.optimizer import rate_factor
from mt_perception.training.split.code_tables import build_tables
from mt_perception.training.split.losses import (
    DenseLosses,
    DenseTeacher,
    DetectorTeacher,
    NetworkTeacher,
    feature_distillation,
    relative_error,
)
from mt_perception.training.split.pca_init import start_from_principal_components
from mt_perception.training.split.split_recipe import (
    ErrorWeights,
    SplitRecipe,
    Stage,
    read_split_recipe,
)
from mt_perception.training.split.stages import DenseHeadStage
from mt_perception.training.split.train_split import SplitNetwork, train_split
from mt_perception.training.split.write_split import TASKS, export_split

ROOT = Path(__file__).resolve().parent.parent
RECIPE = SplitRecipe(
    images_of='',
    seed=1,
    threads=1,
    precision='float32',
    detector='',
    bit_prices=(1.0, 0.2),
    weights=ErrorWeights(1.0, (1.0, 1.0, 1.0, 1.0), 1.0, 1.0, 1.0),
    bottleneck=Stage(2, 2, ((64, 64),), 1e-3, warmup=1),
    decoder=Stage(2, 2, ((64, 64), (64, 96)), 1e-3, warmup=1, rate_shares=(1.0, 2.0)),
    dense_head=Stage(2, 2, ((64, 64),), 1e-3, warmup=1),
    checkpoint_every=1,
)

WORKER = """
import sys, os
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import torch
from test_training_cut import RECIPE, build, PicoDet, SampleSet, Sample
from mt_perception.training.split import train_split as bottleneck
folder, rank = Path(sys.argv[1]), os.environ['RANK']
samples = tuple(Sample(p.stem, p, (96, 128)) for p in sorted(folder.glob('*.png')))
torch.manual_seed(0)
network, detector = build('cspnano', 3, 4), PicoDet(3)
cut = []
made = bottleneck.SplitNetwork
bottleneck.SplitNetwork = lambda *given: cut.append(made(*given)) or cut[0]
sets = [SampleSet('scenes', samples, 1.0)]
for _ in bottleneck.train_split(RECIPE, network, detector, sets, folder / 'run'):
    total = sum(float(value.double().abs().sum()) for value in cut[0].state_dict().values())
    with (folder / f'{rank}.txt').open('a') as file:
        print(total, file=file)
"""


def scene(seed: int, size: tuple[int, int] = (96, 128)) -> np.ndarray:
    """Smooth shapes: an image that can be compressed, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def sets(tmp_path: Path) -> list[SampleSet]:
    samples = []
    for index in range(4):
        path = tmp_path / f'{index}.png'
        cv2.imwrite(str(path), scene(index))
        samples.append(Sample(str(index), path, (96, 128)))
    return [SampleSet('scenes', tuple(samples), 1.0)]


def images(count: int) -> torch.Tensor:
    stacked = np.stack([scene(i) for i in range(count)])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float()


def test_principal_components_compress_before_anything_is_learned() -> None:
    torch.manual_seed(0)
    bottleneck = Bottleneck(2, steps=(1.0, 0.1))
    pictures = images(12)
    with torch.no_grad():
        before = bottleneck(pictures, torch.ones(12, dtype=torch.long)).image
        start_from_principal_components(bottleneck, pictures)
        coarse = bottleneck(pictures, torch.zeros(12, dtype=torch.long))
        fine = bottleneck(pictures, torch.ones(12, dtype=torch.long))
    errors = [float((x - pictures).square().mean()) for x in (before, coarse.image, fine.image)]
    assert errors[2] < errors[1] < errors[0] / 10
    assert coarse.bits.mean() < fine.bits.mean()


def test_gdn_is_the_same_with_constants() -> None:
    x = torch.randn(2, 5, 4, 4)
    for gdn in (GDN(5), UndoGDN(5)):
        for name, parameter in gdn.named_parameters():
            if name.endswith('gamma'):
                torch.nn.init.normal_(parameter)
        torch.testing.assert_close(gdn.fixed()(x), gdn(x))


def test_constants_are_no_denormal_numbers() -> None:
    gdn = GDN(5)
    torch.nn.init.constant_(gdn.gamma, 1e-20)
    assert not gdn.fixed().norm.weight.any()


def test_no_symbols_make_the_decoder_say_what_is_not_finite() -> None:
    torch.manual_seed(0)
    decoder = DecoderGraph(Bottleneck().decoder)
    for size in (1.0, 1e3, 1e6):
        with torch.no_grad():
            seen = decoder(size * torch.randn(1, CHANNELS, 3, 4))
        assert seen.shape == (1, 3, 48, 64)
        assert DECODED_RANGE[0] <= float(seen.min()) <= float(seen.max()) <= DECODED_RANGE[1]


def test_the_decoder_says_the_same_as_it_runs() -> None:
    torch.manual_seed(0)
    decoder = Bottleneck().decoder
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    latent = torch.randn(2, CHANNELS, 3, 4)
    with torch.no_grad():
        torch.testing.assert_close(DecoderGraph(decoder)(latent), decoder(latent))


def test_steps_undo_a_normalisation() -> None:
    torch.manual_seed(0)
    gdn = GDN(6)
    torch.nn.init.uniform_(gdn.gamma, 0.1, 0.4)
    x = torch.randn(2, 6, 8, 8)
    errors = []
    for steps in (1, 3, 9):
        undo = UndoGDN(6, steps)
        for step in undo.steps:
            step.load_state_dict(gdn.state_dict())
        errors.append(float((undo(gdn(x)) - x).square().mean()))
    assert errors[0] > 4 * errors[1] > 40 * errors[2]


def test_the_robots_half_is_cheap() -> None:
    """At most 0.35 of the whole net; here it is the net's own counter that says so."""
    network = build('cspnano')
    image = torch.zeros(1, 320, 416, 3, dtype=torch.uint8)
    robot = count_macs(EncoderGraph(Bottleneck().encoder), [image])
    whole = count_macs(network, [torch.zeros(1, 3, 320, 416)])
    assert robot < 0.2 * whole


def test_the_encoder_reads_bytes_as_the_bottleneck_reads_planes() -> None:
    bottleneck = Bottleneck()
    pixels = torch.from_numpy(scene(1))[None]
    with torch.no_grad():
        expected = bottleneck.encoder(pixels.permute(0, 3, 1, 2).float())
        torch.testing.assert_close(
            EncoderGraph(bottleneck.encoder)(pixels), expected, rtol=1e-4, atol=1e-4
        )


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, sets: list[SampleSet]
) -> None:
    network = build('cspnano', 3, 4)
    detector = PicoDet(3)
    whole = list(train_split(RECIPE, network, detector, sets, tmp_path / 'whole'))
    assert [row.stage for row in whole] == ['bottleneck'] * 2 + ['decoder'] * 2 + [
        'dense head'
    ] * 2
    for stop in (1, 3, 5):
        run = tmp_path / f'{stop}'
        for row in train_split(RECIPE, network, detector, sets, run):
            if row.step == stop:
                break
        list(train_split(RECIPE, network, detector, sets, run))
        ours, theirs = (load_checkpoint(tmp_path / name)['cut'] for name in (run.name, 'whole'))
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], msg=name)


def test_processes_share_the_work_and_agree(tmp_path: Path, sets: list[SampleSet]) -> None:
    run_processes(WORKER, tmp_path, 2)
    ours, theirs = ((tmp_path / f'{rank}.txt').read_text().split() for rank in range(2))
    assert ours == theirs
    assert len(ours) == RECIPE.steps
    assert len(set(ours)) == RECIPE.steps, 'every step moves the weights'
    assert load_checkpoint(tmp_path / 'run')['step'] == RECIPE.steps


def test_later_stages_leave_bytes_alone(tmp_path: Path, sets: list[SampleSet]) -> None:
    network = build('cspnano', 3, 4)
    after = {}
    for row in train_split(RECIPE, network, PicoDet(3), sets, tmp_path):
        after[row.stage] = {n: v.clone() for n, v in load_checkpoint(tmp_path)['cut'].items()}
    assert changed(after['bottleneck'], after['decoder']) == {
        'decoder',
        'log_inverse',
        'trunk',
        'detector',
        'segmentation',
        'depth',
    }
    assert changed(after['decoder'], after['dense head']) == {'wide'}


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The parts of a cut whose weights differ."""
    return {n.split('.')[1] for n, v in after.items() if not torch.equal(v, before[n])}


def test_the_wide_head_must_be_right_by_itself(sets: list[SampleSet]) -> None:
    torch.manual_seed(0)
    network, remote = build('cspnano', 3, 4), Remote(build('cspnano', 3, 4))
    lessons = DenseTeacher(network, sets, 1, Process())
    widen = DenseHeadStage(RECIPE, lessons, Bottleneck(2), remote, Process())
    batch = make_batch(sets, RECIPE.dense_head.canvases, 2, 1, 0)
    before = float(widen.losses(batch, 0).loss.detach())
    for part in remote.segmentation.parameters():
        torch.nn.init.normal_(part)
    assert float(widen.losses(batch, 0).loss.detach()) == before, 'who else says what is no matter'
    for part in remote.wide.parameters():
        torch.nn.init.normal_(part)
    assert float(widen.losses(batch, 0).loss.detach()) > before


def test_the_pixel_teacher_is_heard_before_the_robots_network(sets: list[SampleSet]) -> None:
    truth = DenseLosses(build('cspnano', 3, 4), sets)
    batch = make_batch(sets, RECIPE.decoder.canvases, 2, 1, 0)
    height, width = batch.semantic.shape[1:]
    assert bool((batch.semantic == 255).all())
    says = 9.0 * functional.one_hot(torch.tensor([0, 1, 2]), 4).float()[:, None, :, None, None]
    zero, one, two = says.expand(-1, 2, -1, height, width)
    soft_labels = torch.zeros(2, 4, height, width, dtype=torch.uint8)
    soft_labels[0, 1] = 255  # of the first image it says: class one
    asked = replace(batch, soft_labels=soft_labels)
    # The robot's network says: class zero.
    first = torch.cat((one[:1], zero[:1]))
    cost = {
        name: float(truth.segmentation(logits, zero, asked))
        for name, logits in (('first', first), ('zero', zero), ('two', two))
    }
    assert cost['first'] < 0.01
    assert cost['zero'] > 1
    assert cost['two'] > cost['zero']
    assert float(truth.segmentation(zero, zero, batch)) < 0.01


def test_the_export_is_what_was_trained(tmp_path: Path, sets: list[SampleSet]) -> None:
    network = build('cspnano', 3, 4)
    cut = SplitNetwork(network, RECIPE)
    start_from_principal_components(cut.bottleneck, images(12))
    card = ModelCard('net', '1', 'Apache-2.0', '', ('a', 'b', 'c'), ('d', 'e', 'f', 'g'))
    export_folder(network, card, tmp_path)
    inputs = [scene(i, (160, 224))[None] for i in range(3)]
    export_split(cut, inputs, tmp_path)
    robot, remote = SplitEncoder(tmp_path), RemoteModel(tmp_path)
    assert parse_manifest((tmp_path / 'manifest.yaml').read_text()).cut is not None
    latents = np.stack([remote.latent(robot.payload(image, 1)) for image in inputs])
    together = remote.run(latents, TASKS)
    for index, latent in enumerate(latents):
        for name, value in remote.run(latent[None], TASKS).items():
            np.testing.assert_allclose(together[name][index], value[0], rtol=1e-3, atol=1e-3)
    plan = full_plan(Pipeline.load(tmp_path).manifest.graph, TASKS)
    found = run_plan(TorchSplitRunner(cut, 1), plan, inputs[0]).tensors
    np.testing.assert_allclose(
        found['depth/depth_per_focal'], together['depth/depth_per_focal'][:1], rtol=1e-2
    )


def test_tables_code_what_they_were_counted_from() -> None:
    rng = np.random.default_rng(0)
    scale = np.linspace(6, 0.2, 80)[:, None, None]
    activity = rng.exponential(1.0, (6, 1, 4, 4)).repeat(8, axis=2).repeat(8, axis=3)
    drawn = np.rint(rng.laplace(size=(6, 80, 32, 32)) * scale * activity).astype(np.int16)
    gains = np.ones((1, 80), np.float32)
    codec = LatentCodec(build_tables([list(drawn)], gains, gains))
    codes = [codec.encode(image, 0) for image in drawn]
    for image, code in zip(drawn, codes, strict=True):
        assert np.array_equal(codec.decode(code, 0, image.shape), image)
    # A table for each channel, without contexts, would need this much:
    share = [np.unique(drawn[:, c], return_counts=True)[1] / drawn[:, c].size for c in range(80)]
    bits = sum(-(p * np.log2(p)).sum() for p in share) * 1024
    assert np.mean([len(code) for code in codes]) < 0.95 * bits / 8


def test_channels_that_resemble_their_neighbours_are_coded_as_differences() -> None:
    rng = np.random.default_rng(0)
    smooth = rng.normal(0, 3, (4, 1, 24, 24)).cumsum(axis=2).cumsum(axis=3)
    drawn = np.concatenate([rng.normal(0, 3, (4, 1, 24, 24)), smooth], axis=1)
    symbols = list(np.rint(drawn).astype(np.int16))
    ones = np.ones((1, 2), np.float32)
    tables = build_tables([symbols], ones, ones)
    assert tables.differenced == (1,)
    codec = LatentCodec(tables)
    for image in symbols:
        assert np.array_equal(codec.decode(codec.encode(image, 0), 0, image.shape), image)


def test_relative_error_is_one_where_nothing_is_told() -> None:
    wanted = torch.randn(4, 3, 16, 16)
    assert float(relative_error(wanted, wanted).sum()) == 0
    told_nothing = relative_error(torch.zeros_like(wanted), wanted)
    assert float(told_nothing.mean()) == pytest.approx(1, rel=0.05)


def test_who_looks_at_the_real_image_sees_no_error() -> None:
    torch.manual_seed(0)
    weights = RECIPE.weights
    for eye in (
        NetworkTeacher(build('cspnano', 3, 4), weights),
        DetectorTeacher(PicoDet(), weights),
    ):
        eye.eval()
        bottleneck = Bottleneck(2)
        pictures = images(2)
        found, compressed = feature_distillation(
            eye, bottleneck, pictures, torch.tensor([0, 1]), weights
        )
        assert found.shape == compressed.bits.shape == (2,)
        assert float(found.detach().min()) > 0
        with torch.no_grad():
            seen = eye.predict(pictures)
            assert float(eye.output_errors(seen, seen).abs().max()) < 1e-5
            others = seen._replace(outputs=tuple(t + torch.randn_like(t) for t in seen.outputs))
            assert float(eye.output_errors(others, seen).min()) > 0.01


def test_views_fill_the_canvas() -> None:
    for seed in range(20):
        view = view_of_image(scene(0), (64, 96), np.random.default_rng(seed))
        assert view.shape == (64, 96, 3)
        assert view.dtype == np.uint8


def test_the_shipped_recipe_is_read() -> None:
    recipe = read_split_recipe(ROOT / 'recipes' / 'offload.yaml')
    assert (ROOT / 'recipes' / recipe.images_of).is_file()
    assert len(recipe.decoder.rate_shares) in (0, len(recipe.bit_prices))


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('bottleneck:', 'bottlenecks:', 'bottleneck'),
        ('bit_prices: [', 'bit_prices: [0.0, ', 'must fall'),
        ('seed: 1', 'sed: 1', 'unknown fields: sed \\(did you mean seed'),
        ('canvases: [[192, 256]]', 'canvases: 192', 'expected a list'),
        ('canvases: [[192, 256]]', 'canvases: [[192, 250]]', 'multiples of 32'),
        ('pyramid: 0.5', 'piramid: 0.5', 'unknown fields: piramid \\(did you mean pyramid'),
    ],
)
def test_recipes_that_do_not_fit_are_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = (ROOT / 'recipes' / 'offload.yaml').read_text()
    assert old in text
    path = tmp_path / 'recipe.yaml'
    path.write_text(text.replace(old, new))
    with pytest.raises(ModelError, match=message):
        read_split_recipe(path)


def test_the_rate_rises_and_falls() -> None:
    stage = replace(RECIPE.bottleneck, steps=100, warmup=10)
    factors = [rate_factor(stage, step) for step in range(100)]
    assert factors[0] < factors[9] == max(factors)
    assert factors[99] < 0.05
