# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A cut network: both halves together say what the whole says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_cut import STEPS, write_tiny_cut
from tiny_model import write_tiny_model

from mt_perception.errors import ModelError, PayloadError
from mt_perception.execution.frame_run import run_plan
from mt_perception.model.manifest import parse_manifest
from mt_perception.offload.payload import JPEG, pack, unpack
from mt_perception.offload.split_model import RemoteModel, SplitEncoder, SplitModelRunner
from mt_perception.pipeline import Pipeline
from mt_perception.planning.path_plan import full_plan
from mt_perception.resources import find_model
from mt_perception.types import Frame

TASKS = ('detection', 'segmentation', 'depth')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_cut(tmp_path / 'model')


def image(seed: int = 0, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """An image whose cells have one colour each."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (1, size[0] // 8, size[1] // 8, 3), np.uint8)
    return cells.repeat(8, axis=1).repeat(8, axis=2)


def test_the_finest_rate_says_what_the_whole_network_says(folder: Path) -> None:
    robot, remote = SplitEncoder(folder), RemoteModel(folder)
    payload = unpack(pack(robot.payload(image(), len(STEPS) - 1, 5, 'camera')))
    assert (payload.stamp_ns, payload.frame_id) == (5, 'camera')
    found = remote.run(remote.latent(payload)[None], TASKS)
    pipeline = Pipeline.load(folder)
    whole = run_plan(pipeline.runner, full_plan(pipeline.manifest.graph, TASKS), image())
    for name, value in found.items():
        np.testing.assert_allclose(value, whole.tensors[name], atol=1e-4)


def test_symbols_survive_the_way_at_every_rate(folder: Path) -> None:
    robot, remote = SplitEncoder(folder), RemoteModel(folder)
    for rate in range(len(STEPS)):
        sent = robot.symbols(image(rate), rate)
        latent = remote.latent(unpack(pack(robot.payload(image(rate), rate))))
        assert np.array_equal(latent, robot.codec.dequantise(sent, rate))


def test_a_batch_says_what_its_frames_say(folder: Path) -> None:
    robot, remote = SplitEncoder(folder), RemoteModel(folder)
    latents = np.stack([remote.latent(robot.payload(image(i), 1)) for i in range(3)])
    together = remote.run(latents, TASKS)
    for i in range(3):
        for name, value in remote.run(latents[i : i + 1], TASKS).items():
            np.testing.assert_allclose(together[name][i : i + 1], value, atol=1e-6)


def test_threads_change_nothing(folder: Path) -> None:
    payload = SplitEncoder(folder).payload(image(), 1)
    one, two = (RemoteModel(folder, threads=threads) for threads in (1, 2))
    theirs = two.run(two.latent(payload)[None], TASKS)
    for name, value in one.run(one.latent(payload)[None], TASKS).items():
        np.testing.assert_allclose(theirs[name], value, rtol=1e-5)


def test_no_symbols_make_the_shipped_half_say_what_is_not_finite() -> None:
    """A payload with a sound checksum may hold symbols that no image has."""
    remote = RemoteModel(find_model('cspnano'))
    rng = np.random.default_rng(0)
    for rate in range(remote.codec.rates):
        symbols = rng.integers(-4, 5, (remote.codec.channels, 2, 4)).astype(np.int16)
        wild = rng.integers(0, symbols.size, 20)
        symbols.reshape(-1)[wild] = rng.integers(-(1 << 15), 1 << 15, 20)
        latent = remote.codec.dequantise(symbols, rate)
        for name, value in remote.run(latent[None], TASKS).items():
            assert np.isfinite(value).all(), (name, rate)


def test_only_what_is_wanted_runs(folder: Path) -> None:
    robot, remote = SplitEncoder(folder), RemoteModel(folder)
    latent = remote.latent(robot.payload(image(), 1))
    assert list(remote.run(latent[None], ['depth'])) == ['depth/depth_per_focal']


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'digest': b'0' * 16}, 'model'),
        ({'kind': JPEG}, 'model'),
        ({'rate': 3}, 'rate'),
        ({'shape': (3, 6, 7)}, 'corrupted'),
        ({'shape': (3, 65, 8)}, 'shape'),
        ({'shape': (2, 6, 8)}, 'shape'),
        ({'body': b'\x01\x02\x03'}, 'shape'),
    ],
)
def test_what_is_no_payload_of_this_model_is_refused(
    folder: Path, change: dict[str, object], reason: str
) -> None:
    payload = SplitEncoder(folder).payload(image(), 2)
    with pytest.raises(PayloadError) as refused:
        RemoteModel(folder).latent(replace(payload, **change))
    assert refused.value.reason == reason


def test_a_rate_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(PayloadError, match='has 3'):
        SplitEncoder(folder).payload(image(), 3)


def test_a_model_without_a_cut_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='no section "cut"'):
        SplitEncoder(write_tiny_model(tmp_path))


def test_another_model_has_another_digest(tmp_path: Path) -> None:
    one = SplitEncoder(write_tiny_cut(tmp_path / 'one'))
    same = SplitEncoder(write_tiny_cut(tmp_path / 'same'))
    folder = write_tiny_cut(tmp_path / 'other')
    text = (folder / 'manifest.yaml').read_text()
    other = parse_manifest(text.replace(one.cut.tables.sha256, 'a' * 64))
    assert other.cut is not None
    assert one.cut.digest == same.cut.digest != other.cut.digest


@pytest.mark.parametrize(
    ('field', 'value', 'message'),
    [
        ('channels', 4, 'has 3 channels and 3 rates'),
        ('rates', [{'payload_bytes': 1, 'accuracy': {}}], 'has 3 channels and 3 rates'),
        ('rates', [], 'rates is out of range'),
        ('stride', 0, 'stride is out of range'),
        ('typo', 1, 'unknown fields: typo'),
    ],
)
def test_a_cut_that_contradicts_itself_is_refused(
    tmp_path: Path, field: str, value: object, message: str
) -> None:
    folder = write_tiny_cut(tmp_path, edit=lambda manifest: manifest['cut'].update({field: value}))
    with pytest.raises(ModelError, match=message):
        SplitEncoder(folder)


def test_a_pipeline_runs_through_the_payload(folder: Path) -> None:
    """What a benchmark measures: the same results, and the bytes that they cost."""
    frame = Frame(image()[0])
    whole = Pipeline.load(folder)
    runner = SplitModelRunner(folder, len(STEPS) - 1)
    cut = Pipeline(whole.manifest, runner)
    ours, theirs = cut.run(frame), whole.run(frame)
    assert ours.detections is not None
    assert theirs.detections is not None
    np.testing.assert_allclose(ours.detections.boxes, theirs.detections.boxes, atol=1e-3)
    fine = ours.execution.offload.payload_bytes
    runner.rate = 0
    coarse = cut.run(frame).execution.offload.payload_bytes
    assert isinstance(fine, int)
    assert isinstance(coarse, int)
    assert 46 < coarse < fine
