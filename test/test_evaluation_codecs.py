# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Codecs in front of the network: names, bytes, what is left of an image, and who runs it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_cut import write_tiny_cut
from tiny_model import write_tiny_model

pytest.importorskip('constriction')

from mt_perception.errors import ModelError, OptionError
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.predictor import RunSettings, open_predictor
from mt_perception.evaluation.rate_distortion import (
    IMAGE,
    JPEG,
    RATE,
    WEBP,
    Codec,
    bytes_needed,
    encoded,
    jpeg_of,
    parse_codec,
    payload_bytes,
    standard_codecs,
    through,
)
from mt_perception.evaluation.sweep import parse_grid, plan_jobs
from mt_perception.pipeline import Pipeline
from mt_perception.types import Frame


@pytest.fixture(scope='module')
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_cut(tmp_path_factory.mktemp('cut') / 'tiny')


@pytest.fixture(scope='module')
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp('plain') / 'tiny')


def picture(seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return cv2.resize(coarse, (64, 48), interpolation=cv2.INTER_CUBIC)


@given(
    st.one_of(
        st.just(Codec(IMAGE)),
        st.builds(Codec, st.sampled_from([JPEG, WEBP]), st.integers(1, 100)),
        st.builds(Codec, st.just(RATE), st.integers(0, 100)),
    )
)
def test_a_name_reads_back(codec: Codec) -> None:
    assert parse_codec(codec.name) == codec


@pytest.mark.parametrize(
    'text', ['', 'png-3', 'jpeg', 'jpeg-0', 'jpeg-101', 'webp--1', 'rate-', 'rate-1.5', 'image-1']
)
def test_what_is_no_codec_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match='a codec is image, jpeg-QUALITY'):
        parse_codec(text)


def test_all_codecs_are_those_of_the_model(cut: Path, plain: Path) -> None:
    names = standard_codecs(str(cut))
    assert names[0] == 'image'
    assert [n for n in names if n.startswith('rate')] == ['rate-0', 'rate-1', 'rate-2']
    assert names[: len(standard_codecs(str(plain)))] == standard_codecs(str(plain))
    jobs = plan_jobs(['x'], [str(cut)], parse_grid(['codec=all']), Job('', '', Path()), Path('o'))
    assert tuple(job.settings.codec for job in jobs) == names
    assert jobs[1].folder == Path('o/x/codec=jpeg-10')
    assert jobs[1].parameters['codec'] == 'jpeg-10'
    assert 'codec' not in Job('', '', Path()).parameters


def test_each_codec_leaves_what_it_says(cut: Path) -> None:
    pipeline = Pipeline.load(cut)
    frame = Frame(picture())
    plain_run = pipeline.run(frame)
    runner = through(pipeline, cut, Codec(IMAGE))
    same = pipeline.run(frame)
    np.testing.assert_array_equal(same.depth.depth, plain_run.depth.depth)
    whole = runner.image.copy()
    assert payload_bytes(same.execution) == whole.size
    sizes = {}
    for name in ('jpeg-10', 'jpeg-90', 'webp-5', 'webp-75'):
        runner.codec = parse_codec(name)
        run = pipeline.run(frame).execution
        sizes[name] = payload_bytes(run)
        assert sizes[name] == len(encoded(whole, runner.codec))
        assert runner.image.shape == whole.shape
        assert run.macs == plain_run.execution.macs
    assert sizes['jpeg-10'] < sizes['jpeg-90']
    assert sizes['webp-5'] < sizes['webp-75']


def test_a_rate_runs_both_halves(cut: Path) -> None:
    pipeline = Pipeline.load(cut)
    runner = through(pipeline, cut, Codec(RATE, 2))
    run = pipeline.run(Frame(picture())).execution
    assert run.offload.rate == 2
    assert {'encoder', 'decoder', 'depth'} <= set(run.blocks)
    assert run.macs > 0
    runner.codec = Codec(RATE, 3)
    with pytest.raises(ModelError, match='rates 0 to 2'):
        pipeline.run(Frame(picture()))


def test_what_cannot_pass_is_refused(cut: Path, plain: Path) -> None:
    with pytest.raises(ModelError, match='section "cut"'):
        open_predictor(str(plain), RunSettings(codec='rate-0'))
    with pytest.raises(ModelError, match='rates 0 to 2'):
        open_predictor(str(cut), RunSettings(codec='rate-7'))
    with pytest.raises(OptionError, match='not for baselines'):
        open_predictor('onnx:a.onnx', RunSettings(codec='jpeg-75'))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(0, 20_000))
def test_the_best_jpeg_in_so_many_bytes(seed: int, most: int) -> None:
    image = picture(seed)[None]
    codec = jpeg_of(image, most)
    size = len(encoded(image, codec))
    assert size <= most or codec.value == 1
    better = [q for q in range(codec.value + 1, 101) if q % 10 == 0]
    assert all(len(encoded(image, Codec(JPEG, q))) > most for q in better)


def test_bytes_between_two_points() -> None:
    rising = [(100.0, 0.1), (200.0, 0.3), (400.0, 0.2)]
    assert bytes_needed(rising, 0.2, rises=True) == pytest.approx(150)
    assert bytes_needed(rising, 0.05, rises=True) == 100
    assert bytes_needed(rising, 0.31, rises=True) is None
    errors = [(400.0, 0.1), (100.0, 0.3)]
    assert bytes_needed(errors, 0.2, rises=False) == pytest.approx(250)
    assert bytes_needed([], 0.2, rises=False) is None
