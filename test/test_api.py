# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The public API: complete, cheap to import, and every example in its docstrings runs."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mt_perception
from mt_perception import (
    Budget,
    Detections,
    Frame,
    ImageError,
    Intrinsics,
    OptionError,
    Options,
    PerceptionError,
    Pipeline,
    Segmentation,
    draw,
    open_source,
)

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = [getattr(mt_perception, name) for name in mt_perception.__all__]
STABLE = [
    'offload.client.offload',
    'offload.settings.OffloadSettings',
    'evaluation.job.Job',
    'evaluation.job.run_job',
    'evaluation.comparison.compare_runs',
]


def test_the_names_are_those_of_the_documents() -> None:
    errors = {
        one.__name__ for one in PUBLIC if inspect.isclass(one) and issubclass(one, Exception)
    }
    assert set(mt_perception.__all__) - errors == {
        'Budget',
        'DepthMap',
        'Detections',
        'Frame',
        'GroundPlane',
        'Intrinsics',
        'Options',
        'Pipeline',
        'Result',
        'Segmentation',
        'draw',
        'list_models',
        'open_source',
    }
    assert all(issubclass(getattr(mt_perception, name), PerceptionError) for name in errors)
    assert set(dir(mt_perception)) >= set(mt_perception.__all__)
    with pytest.raises(AttributeError, match='Pipelin'):
        mt_perception.Pipelin  # noqa: B018


@pytest.mark.parametrize('public', PUBLIC, ids=mt_perception.__all__)
def test_every_public_name_has_an_example_that_runs(public: object) -> None:
    if inspect.isclass(public) and issubclass(public, Exception):
        assert public.__doc__
        return
    run_example(public)


@pytest.mark.parametrize('name', STABLE)
def test_the_other_stable_names_have_examples_that_run(name: str) -> None:
    assert f'| `{name}` |' in (ROOT / 'docs' / 'api.md').read_text(encoding='utf-8')
    if name.startswith('offload'):
        pytest.importorskip('tritonclient')
    module, _, member = name.rpartition('.')
    run_example(getattr(importlib.import_module(f'mt_perception.{module}'), member))


def run_example(public: Any) -> None:
    (test,) = doctest.DocTestFinder(recurse=False).find(public, public.__name__)
    assert test.examples, f'{public.__name__} has no example'
    assert not doctest.DocTestRunner().run(test).failed


def test_importing_it_imports_nothing_else() -> None:
    code = (
        'import sys, mt_perception; mt_perception.PerceptionError; '
        'assert not {"numpy", "cv2", "onnxruntime"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


def test_ten_lines_are_enough(tmp_path: Path) -> None:
    """The script of the README, as a user types it, in a folder of its own."""
    picture = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'street.jpg'), picture)
    script = """
import cv2
from mt_perception import Pipeline

pipeline = Pipeline.load('cspnano')
result = pipeline.run(cv2.imread('street.jpg'))
for detection in result.detections:
    print(detection.label, detection.score, detection.box)
cv2.imwrite('out.jpg', result.draw())
"""
    # From here, where the tests' package is found; files lie in the other folder.
    code = f'import os; os.chdir({str(tmp_path)!r})\n{script}'
    subprocess.run([sys.executable, '-c', code], check=True)
    assert cv2.imread(str(tmp_path / 'out.jpg')).shape == (240, 320, 3)


def test_frames_of_a_source(tmp_path: Path) -> None:
    for name in ('a.png', 'b.png'):
        cv2.imwrite(str(tmp_path / name), np.zeros((48, 64, 3), np.uint8))
    assert [frame.image.shape for frame in open_source(tmp_path)] == [(48, 64, 3)] * 2


def detections(count: int) -> Detections:
    random = np.random.default_rng(count)
    return Detections(
        boxes=random.uniform(0, 100, (count, 4)).astype(np.float32),
        scores=np.sort(random.uniform(0, 1, count).astype(np.float32))[::-1],
        class_ids=random.integers(0, 3, count),
        labels=('car', 'person', 'dog'),
    )


@given(st.integers(0, 20), st.floats(0, 1), st.sets(st.sampled_from(['car', 'person', 'dog'])))
def test_a_filter_keeps_exactly_what_it_says(count: int, score: float, names: set[str]) -> None:
    everything = detections(count)
    kept = everything.filter(names, score)
    expected = [f for f in everything if f.label in names and np.float32(f.score) >= score]
    assert [(f.label, f.score) for f in kept] == [(f.label, f.score) for f in expected]
    assert len(everything.filter()) == count


@given(st.integers(1, 20), st.data())
def test_indices(count: int, data: st.DataObject) -> None:
    everything = detections(count)
    index = data.draw(st.integers(-count, count - 1))
    one = everything[index]
    assert one.score == float(everything.scores[index])
    assert one.label == everything.labels[everything.class_ids[index]]
    np.testing.assert_array_equal(one.box, everything.boxes[index])
    assert [f.score for f in everything] == everything.scores.tolist()
    assert everything[1:3].scores.tolist() == everything.scores[1:3].tolist()
    assert len(everything[everything.scores > 2]) == 0
    with pytest.raises(IndexError):
        everything[count]


@pytest.mark.parametrize(
    ('kind', 'values', 'why'),
    [
        (Options, {'score_threshold': 'x'}, 'score_threshold must be of type float'),
        (Options, {'size': '416'}, 'size must be of type int'),
        (Options, {'max_detections': 1.5}, 'max_detections must be of type int'),
        (Options, {'max_detections': True}, 'max_detections must be of type int'),
        (Options, {'classes': 'person'}, 'classes must be a list of names'),
        (Options, {'conditions': (3,)}, 'conditions must be a list of names'),
        (Budget, {'compute': None}, 'compute must be of type float'),
        (Budget, {'weights': None}, 'weights must be of type dict'),
    ],
)
def test_settings_of_a_wrong_type(kind: type, values: dict[str, object], why: str) -> None:
    with pytest.raises(OptionError, match=why):
        kind(**values)


def test_lists_are_as_good_as_tuples() -> None:
    assert Options(classes=['person']) == Options(classes=('person',))
    assert hash(Options(conditions=['depth if detection finds anything']))


@pytest.mark.parametrize('image', [None, 'street.jpg', [[0]], np.zeros((4, 4), np.uint8)])
def test_what_is_no_image(image: object) -> None:
    pipeline = Pipeline.load('cspnano')
    for call in (pipeline.run, lambda i: draw(i, pipeline.run(np.zeros((48, 64, 3), np.uint8)))):
        with pytest.raises(ImageError, match='expected a uint8 image'):
            call(image)


@pytest.mark.parametrize('camera', [(0, 0), (-1, 5), (float('nan'), 5)])
def test_impossible_intrinsics_cost_depth_only(camera: tuple[float, float]) -> None:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), 5, '', Intrinsics(*camera, 0, 0, 64, 48))
    result = Pipeline.load('cspnano').run(frame)
    assert 'calibrate the camera' in result.failures['depth']
    assert result.detections is not None


def test_stamps_and_threads() -> None:
    with pytest.raises(ImageError, match='stamp_ns must be an integer'):
        Pipeline.load('cspnano').run(Frame(np.zeros((48, 64, 3), np.uint8), float('nan')))
    with pytest.raises(OptionError, match='threads must be from 0 to 256'):
        Pipeline.load('cspnano', threads=10**6)


@pytest.mark.parametrize('index', [None, True, np.True_])
def test_what_is_no_index(index: object) -> None:
    with pytest.raises(IndexError, match='expected an index'):
        detections(3)[index]


def test_names_that_the_model_lacks() -> None:
    with pytest.raises(OptionError, match=r"no class 'cat'.*car, person, dog"):
        detections(3).filter(['cat'])
    with pytest.raises(OptionError, match="list of class names, found the string 'car'"):
        detections(3).filter('car')
    with pytest.raises(OptionError, match='no class'):
        Segmentation(np.zeros((2, 2), np.uint8), ('floor',)).mask('wall')
