# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames coded as differences to a key frame: exact, bounded, and never needed for a result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hosts import Running, running_host
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from plain_client import Robot, image, robot
from tiny_cut import STEPS, tiny_tables

from mt_perception.errors import PayloadError
from mt_perception.offload.client import offload
from mt_perception.offload.codec import SAME, LatentCodec
from mt_perception.offload.endpoint import Endpoint
from mt_perception.offload.entropy_coder import SYMBOL_MAX, SYMBOL_MIN
from mt_perception.offload.key_frames import KeyFrames
from mt_perception.offload.payload import (
    DIFFERENCE,
    SYMBOLS,
    Payload,
    difference_body,
    pack,
    unpack,
)
from mt_perception.offload.settings import OffloadSettings
from mt_perception.offload.split_model import RemoteModel, SplitEncoder
from mt_perception.pipeline import Pipeline
from mt_perception.server.references import MAX_PER_CLIENT, References

CODEC = LatentCodec(tiny_tables())
RATES = st.integers(0, len(STEPS) - 1)
SHAPES = st.tuples(st.just(3), st.integers(1, 7), st.integers(1, 7))
VALUES = st.one_of(st.integers(-3, 260), st.integers(SYMBOL_MIN, SYMBOL_MAX))


# The codec


@given(st.data(), SHAPES, RATES)
def test_differences_survive(data: st.DataObject, shape: tuple[int, int, int], rate: int) -> None:
    """Exactly, whatever the cells that changed, also none and all."""
    reference, other = (data.draw(hnp.arrays(np.int16, shape, elements=VALUES)) for _ in range(2))
    cells = data.draw(hnp.arrays(np.bool_, shape[1:]))
    symbols = np.where(cells, other, reference)
    code = CODEC.encode(symbols, rate, reference)
    assert np.array_equal(CODEC.decode(code, rate, shape, reference), symbols)


def test_a_frame_that_repeats_its_reference_is_its_mask() -> None:
    symbols = np.full((3, 8, 8), 77, np.int16)
    assert CODEC.encode(symbols, 0, symbols) == bytes(8) + bytes(4)


@given(st.binary(max_size=60), SHAPES, RATES)
def test_any_bytes_are_a_difference_or_refused(
    code: bytes, shape: tuple[int, int, int], rate: int
) -> None:
    reference = np.zeros(shape, np.int16)
    try:
        symbols = CODEC.decode(code, rate, shape, reference)
    except PayloadError:
        return
    cells = (symbols != reference).any(axis=0)
    mask = np.unpackbits(np.frombuffer(code, np.uint8))[: cells.size].reshape(cells.shape)
    assert not (cells & ~mask.astype(bool)).any(), 'cells outside of the mask are the reference'


@given(st.integers(0, 2**31), RATES, st.floats(0, 3))
def test_a_cell_repeats_only_within_a_bounded_error(seed: int, rate: int, change: float) -> None:
    rng = np.random.default_rng(seed)
    latent = rng.normal(0, 40, (3, 6, 6)).astype(np.float32)
    reference = CODEC.quantise(latent, rate)
    moved = (latent + rng.normal(0, change, latent.shape)).astype(np.float32)
    symbols, alone = CODEC.quantise_near(moved, rate, reference), CODEC.quantise(moved, rate)
    error, rounding = (
        ((CODEC.dequantise(s, rate) - moved) ** 2 / CODEC.dequantise(np.ones_like(s), rate) ** 2)
        for s in (symbols, alone)
    )
    cells = (symbols != alone).any(axis=0)
    assert (symbols[:, cells] == reference[:, cells]).all()
    assert (error.sum(axis=0) <= SAME * rounding.sum(axis=0) * (1 + 1e-3) + 1e-6).all()


# The robot's decisions


def payloads(coder: KeyFrames, images: list[np.ndarray], rate: int = 0) -> Iterator[Payload]:
    for one in images:
        yield coder.payload(one[None], rate, 0, '')
        coder.confirm(kept=True)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8)


def test_a_still_camera_sends_one_key_frame_and_small_differences(folder: Path) -> None:
    sent = list(payloads(KeyFrames(SplitEncoder(folder)), [noise(0)] * 4))
    assert [payload.kind for payload in sent] == [SYMBOLS] + [DIFFERENCE] * 3
    assert {payload.reference for payload in sent[1:]} == {sent[0].checksum}
    assert max(len(payload.body) for payload in sent[1:]) < len(sent[0].body) / 4


def test_a_moving_camera_sends_key_frames(folder: Path) -> None:
    """A difference to another scene costs as much as a key frame, and the next one more."""
    coder = KeyFrames(SplitEncoder(folder))
    sent = list(payloads(coder, [noise(seed) for seed in range(12)]))
    alone = [len(SplitEncoder(folder).payload(noise(s)[None], 0).body) for s in range(12)]
    assert sum(len(payload.body) for payload in sent) <= 1.02 * sum(alone)
    # The scene stays from here on.
    assert list(payloads(coder, [noise(99)] * 3))[-1].kind == DIFFERENCE


def test_a_new_key_frame_follows_a_lasting_change(folder: Path) -> None:
    """Half of the scene changes for good: later frames refer to the new one."""
    first = noise(0)
    second = first.copy()
    second[32:] = noise(1)[32:]
    sent = list(payloads(KeyFrames(SplitEncoder(folder)), [first] + [second] * 12))
    kinds = [payload.kind for payload in sent]
    assert kinds[1] == DIFFERENCE
    assert kinds.count(SYMBOLS) == 2
    assert len(sent[-1].body) < len(sent[1].body)


def cells(changed: int) -> np.ndarray:
    """An image of 64 cells, some of which differ from the others."""
    found = np.full(64, 40, np.uint8)
    found[:changed] = 200
    return np.repeat(np.kron(found.reshape(8, 8), np.ones((8, 8), np.uint8))[..., None], 3, 2)


def test_a_key_frame_is_sent_when_nine_tenths_changed_or_the_loss_adds_up_to_one(
    folder: Path,
) -> None:
    for changed, kind in ((57, DIFFERENCE), (58, SYMBOLS)):
        coder = KeyFrames(SplitEncoder(folder))
        assert [p.kind for p in payloads(coder, [cells(0), cells(changed)])] == [SYMBOLS, kind]
    images = [cells(0), *[cells(32)] * 6]
    kinds = [payload.kind for payload in payloads(KeyFrames(SplitEncoder(folder)), images)]
    assert kinds == [SYMBOLS, *[DIFFERENCE] * 3, SYMBOLS, *[DIFFERENCE] * 2]


@pytest.mark.parametrize('event', ['not_confirmed', 'not_kept', 'forget', 'rate', 'size'])
def test_without_a_confirmed_key_frame_frames_are_coded_alone(folder: Path, event: str) -> None:
    coder = KeyFrames(SplitEncoder(folder))
    one = noise(0)[None]
    coder.payload(one, 0, 0, '')
    if event != 'not_confirmed':
        coder.confirm(kept=event != 'not_kept')
    if event == 'forget':
        coder.forget()
    if event == 'size':
        one = noise(0)[None, :, :32]
    assert coder.payload(one, int(event == 'rate'), 0, '').kind == SYMBOLS


# The host


def test_the_host_returns_equal_results_for_a_difference_and_a_whole_frame(folder: Path) -> None:
    coder, remote = KeyFrames(SplitEncoder(folder)), RemoteModel(folder)
    near = noise(0)
    near[:16] = noise(1)[:16]
    key, difference = payloads(coder, [noise(0), near])
    assert difference.kind == DIFFERENCE
    received = remote.latent(unpack(pack(difference)), unpack(pack(key)))
    whole = remote.latent(SplitEncoder(folder).payload(near[None], 0))
    cells = (received != whole).any(axis=0)
    # What differs at all repeats the key frame.
    assert (received[:, cells] == remote.latent(key)[:, cells]).all()
    assert cells.mean() < 0.5


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    with running_host(folder) as made:
        yield made


@pytest.fixture
def client(running: Running, folder: Path) -> Iterator[Robot]:
    with robot(running.target, folder) as made:
        yield made


def test_differences_refer_only_to_answered_features(
    folder: Path, running: Running, client: Robot
) -> None:
    assert client.half is not None
    key, difference = payloads(KeyFrames(client.half), [image(), image()])
    status, sentence = client.refused(client.request_of(difference))
    assert (status, 'send a key frame' in sentence) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    first = client.ask(client.request_of(key))
    assert first.kept
    again = client.ask(client.request_of(difference))
    assert not again.kept, 'a difference is no reference'
    for name, value in first.tensors.items():
        assert np.array_equal(value, again.tensors[name]), name
    picture = client.ask(client.request_of(client.picture(image())))
    assert not picture.kept
    # Nobody refers to features of another client.
    with robot(running.target, folder) as other:
        assert other.refused(other.request_of(difference))[0] == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize('fault', ['rate', 'shape', 'digest', 'empty', 'mask', 'code'])
def test_a_difference_that_contradicts_its_reference_is_refused(client: Robot, fault: str) -> None:
    assert client.half is not None
    key, difference = payloads(KeyFrames(client.half), [image(), image()])
    client.ask(client.request_of(key))
    channels, height, width = difference.shape
    changes: dict[str, Any] = {
        'rate': {'rate': 1},
        'shape': {'shape': (channels, height, width * 2)},
        'digest': {'digest': bytes(16)},
        'empty': {'body': difference.body[:4]},
        'mask': {'body': difference.body[:4] + b'\xff' * 3},
        'code': {'body': difference_body(key.checksum, b'\xff' * (len(difference.body) - 4))},
    }
    status, _ = client.refused(client.request_of(replace(difference, **changes[fault])))
    assert status == grpc.StatusCode.INVALID_ARGUMENT
    assert client.ask(client.request_of(difference)).tensors


def payload_of(number: int, size: int = 10) -> Payload:
    return Payload(SYMBOLS, 0, bytes(16), (1, 1, 1), 0, '', number.to_bytes(4, 'big') * size)


def test_kept_features_are_bounded_for_each_client_and_in_bytes() -> None:
    references = References(max_bytes=40 * 10)
    own = [payload_of(number) for number in range(MAX_PER_CLIENT + 2)]
    for payload in own:
        references.keep('a', payload)
    found = [references.find('a', payload.checksum) for payload in own]
    assert found == [None, None, *own[2:]]
    assert references.find('b', own[-1].checksum) is None
    # Bytes: the one that was not used for longest goes first.
    assert references.find('a', own[2].checksum) is own[2]
    for client in 'bcdefgh':
        references.keep(client, payload_of(7))
    assert references.find('a', own[3].checksum) is None
    assert references.find('a', own[2].checksum) is own[2]
    # One that is kept again is counted once.
    for _ in range(50):
        references.keep('h', payload_of(7))
    assert references.find('a', own[2].checksum) is own[2]


# Both together


def offloaded(pipeline: Pipeline, client: Any, one: np.ndarray) -> Any:
    report = pipeline.run(one).execution.offload
    assert report is not None
    return report


def test_a_robot_and_its_host(folder: Path) -> None:
    """Differences are used as soon as the host confirms; a restart costs a key frame."""
    pipeline = Pipeline.load(folder)
    with running_host(folder) as running:
        endpoint = Endpoint(running.target)
        settings = OffloadSettings([endpoint], deadline_ms=20_000.0)
        settings = replace(settings, decision=replace(settings.decision, mode='always'))
        with offload(pipeline, settings) as client:
            assert client.hosts.wait_ready(30)
            local = pipeline.run(noise(0))
            reports = [offloaded(pipeline, client, noise(0)) for _ in range(4)]
            assert all(report.remote for report in reports[1:]), [r.failure for r in reports]
            sizes = [report.payload_bytes for report in reports if report.remote]
            assert sizes[-1] < sizes[0]
            # The host loses what it kept: one local result, then a key frame.
            running.host._service._references = References()
            lost = offloaded(pipeline, client, noise(0))
            assert (lost.remote, lost.failure) == (False, 'rejected')
            again = [offloaded(pipeline, client, noise(0)) for _ in range(2)]
            assert [report.remote for report in again] == [True, True]
            assert again[1].payload_bytes < again[0].payload_bytes
            assert local.detections is not None
