# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From sources, models and a grid to jobs with folders of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import OptionError
from mt_perception.evaluation.datasets.sample_source import safe_name
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.sweep import parse_grid, plan_jobs

OUT = Path('/out')


def plan(sources: list[str], models: list[str], *sweeps: str) -> list[Job]:
    return plan_jobs(sources, models, parse_grid(sweeps), Job('', '', OUT), OUT)


def test_one_source_one_model() -> None:
    (job,) = plan(['/data/kitchen.bag'], ['models/a'])
    assert job.folder == OUT / 'kitchen'
    assert job.name == 'kitchen'
    assert job.swept == ()


def test_grid_times_models_times_sources() -> None:
    jobs = plan(['x', 'y'], ['a', 'b'], 'size=256,320', 'score_threshold=0.1,0.3')
    assert len(jobs) == 16
    assert len({job.folder for job in jobs}) == 16
    assert jobs[1].folder == OUT / 'x' / 'a' / 'size=256,score_threshold=0.3'
    assert jobs[1].settings.options.size == 256
    assert jobs[1].settings.options.score_threshold == 0.3
    assert dict(jobs[1].swept) == {'size': 256, 'score_threshold': 0.3}
    assert jobs[0].settings.options.nms_iou == jobs[-1].settings.options.nms_iou


def test_providers_and_threads() -> None:
    jobs = plan(['x'], ['a'], 'provider=CPU,CUDA', 'threads=1,2')
    assert [(j.settings.providers, j.settings.threads) for j in jobs] == [
        (('CPU',), 1),
        (('CPU',), 2),
        (('CUDA',), 1),
        (('CUDA',), 2),
    ]


def test_equal_names_get_their_own_folders() -> None:
    jobs = plan(['/a/kitchen', '/b/kitchen', '/c/kitchen.mcap'], ['m'])
    assert [job.folder.name for job in jobs] == ['kitchen', 'kitchen-2', 'kitchen-3']
    baselines = ['onnx:/t/yolox.onnx+/t/deep.onnx:deeplab', 'models/yolox']
    folders = {job.folder.name for job in plan(['x'], baselines)}
    assert folders == {'onnx_yolox_deep', 'yolox'}


@pytest.mark.parametrize('text', ['', 'size', 'speed=1', 'size=a', 'size=', 'threads=1.5'])
def test_bad_sweeps_are_refused(text: str) -> None:
    with pytest.raises(OptionError):
        parse_grid([text])


def test_a_parameter_is_swept_once() -> None:
    with pytest.raises(OptionError, match='for each parameter'):
        parse_grid(['size=1', 'size=2'])
    assert parse_grid(['size=64,64,96']) == {'size': (64, 96)}


@given(st.text())
def test_any_name_is_one_plain_folder(text: str) -> None:
    name = safe_name(text)
    assert name == Path(name).name
    assert 0 < len(name) <= 80
    assert name.isascii()
    assert name not in ('.', '..')
    assert not set(name) & set('/\\<>&"\' \n\0')


@given(st.text(min_size=1).filter(lambda t: '\0' not in t))
def test_swept_values_never_become_paths(text: str) -> None:
    value = text.replace(',', '')
    for job in plan(['x'], ['m'], f'provider={value}'):
        assert job.folder.parent == OUT / 'x'
