# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a rate is worth and how large its payloads are; how long work takes on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cut import write_tiny_cut

from mt_perception.model.folder import read_manifest
from mt_perception.model.manifest import Accuracy, Manifest
from mt_perception.model.split import Rate
from mt_perception.offload.deadline import DurationEstimate, DurationEstimates
from mt_perception.offload.decision import Rates, relative_gain

SIZE = (64, 64)


@pytest.fixture(scope='module')
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = write_tiny_cut(tmp_path_factory.mktemp('model') / 'tiny')
    rows = (('detection', 0.3), ('segmentation', 0.4), ('depth', 0.1))
    figures = tuple(Accuracy(task, 'm', value, 'd') for task, value in rows)
    return replace(read_manifest(folder), accuracy=figures)


def test_a_gain_is_relative_and_of_the_wanted_tasks(manifest: Manifest) -> None:
    rate = Rate(100, {'detection': 0.33, 'segmentation': 0.36, 'depth': 0.08})
    assert relative_gain(manifest, rate, ['detection']) == pytest.approx(0.1)
    assert relative_gain(manifest, rate, ['segmentation']) == pytest.approx(-0.1)
    # Of depth the error is stated: less of it is better.
    assert relative_gain(manifest, rate, ['depth']) == pytest.approx(0.2)
    assert relative_gain(manifest, rate, ['detection', 'depth']) == pytest.approx(0.15)


def test_nothing_is_made_up_where_nobody_measured(manifest: Manifest) -> None:
    assert relative_gain(manifest, Rate(100, {}), ['detection']) is None
    assert (
        relative_gain(replace(manifest, accuracy=()), Rate(100, {'depth': 0.1}), ['depth']) is None
    )


def test_without_figures_the_finer_rate_counts_as_a_little_better(manifest: Manifest) -> None:
    assert manifest.cut is not None
    gains = [o.gain for o in Rates(manifest, manifest.cut).options(['depth'], SIZE)]
    assert gains == sorted(gains)
    assert gains[-1] == 0
    assert gains[0] > -0.005


def test_sizes_come_from_the_manifest_and_then_from_payloads(manifest: Manifest) -> None:
    assert manifest.cut is not None
    rates = Rates(manifest, manifest.cut)
    assert [o.payload_bytes for o in rates.options(['depth'], SIZE)] == [200, 300, 400]
    # Four times the pixels, four times the bytes.
    assert rates.options(['depth'], (128, 128))[0].payload_bytes == 800
    for _ in range(30):
        rates.add(0, 1000, SIZE)
    sizes = [o.payload_bytes for o in rates.options(['depth'], SIZE)]
    assert sizes == pytest.approx([1000, 300, 400])


def test_nothing_is_known_of_work_that_was_never_done() -> None:
    time = DurationEstimate()
    assert not time.known
    assert (time.typical_s, time.upper_s) == (0.0, 0.0)


@given(st.lists(st.floats(1e-4, 10), min_size=1, max_size=80))
def test_most_is_at_least_the_slowest_of_late(times: Sequence[float]) -> None:
    time = DurationEstimate()
    for seconds in times:
        time.add(seconds)
    assert time.upper_s >= max(times[-32:])
    assert time.upper_s >= time.typical_s
    assert min(times) <= time.typical_s * 1.0001


def test_a_hiccup_is_forgotten() -> None:
    time = DurationEstimate()
    time.add(5.0)
    for _ in range(40):
        time.add(0.05)
    assert time.upper_s < 0.1


def test_times_are_kept_for_each_kind_of_work_and_not_for_ever() -> None:
    times = DurationEstimates()
    times.of('a').add(1.0)
    assert times.of('a').known
    assert not times.of('b').known
    for i in range(62):
        times.of(i)
    assert times.of('a').known, 'the one that was used last is kept'
    for i in range(64):
        times.of(-1 - i)
    assert not times.of('a').known
