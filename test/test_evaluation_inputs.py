# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A completed evaluation of something else is noticed, named and never replaced silently."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_model import write_tiny_model

from mt_perception.cli.main import main
from mt_perception.errors import OutputError
from mt_perception.evaluation.inputs import differences, input_state
from mt_perception.evaluation.job import Job
from mt_perception.evaluation.link.study import LinkSettings, LinkStudy, kept_study, write_study
from mt_perception.evaluation.output import MARKER
from mt_perception.evaluation.predictor import model_sha256


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with images, a model and names of classes."""
    (tmp_path / 'images').mkdir()
    for number in range(2):
        image = np.full((48, 64, 3), 90 * number, np.uint8)
        cv2.imwrite(str(tmp_path / 'images' / f'{number}.png'), image)
    write_tiny_model(tmp_path / 'tiny')
    (tmp_path / 'names.yaml').write_text('{1: red}\n')
    return tmp_path


def evaluate(place: Path, *more: object) -> int:
    given = (place / 'images', '--model', place / 'tiny', '--out', place / 'out', '--no-report')
    return main(['evaluate', *map(str, (*given, '--class-names', place / 'names.yaml', *more))])


def another_image(place: Path) -> None:
    cv2.imwrite(str(place / 'images' / '2.png'), np.zeros((48, 64, 3), np.uint8))


def same_size(place: Path) -> None:
    """An image is replaced by one of as many bytes."""
    path = place / 'images' / '0.png'
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(1, 1))


def names(place: Path) -> None:
    (place / 'names.yaml').write_text('{1: blu}\n')


def model(place: Path) -> None:
    write_tiny_model(place / 'tiny', edit=lambda manifest: manifest.update(version='2'))


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (another_image, 'the content of the source'),
        (same_size, 'the content of the source'),
        (names, 'the content of the class_names'),
        (model, 'the content of the model'),
    ],
)
def test_a_changed_input_is_said_and_nothing_is_replaced(
    place: Path,
    change: Callable[[Path], None],
    named: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(place) == 0
    summary = place / 'out' / 'images' / 'summary.json'
    before = summary.read_bytes()
    assert evaluate(place) == 0
    assert '1 of 1 are complete' in capfd.readouterr().out
    change(place)
    assert evaluate(place) == 1
    printed = ' '.join(capfd.readouterr().err.split())
    assert named in printed
    assert '--fresh' in printed
    assert '--out' in printed
    assert summary.read_bytes() == before
    assert evaluate(place, '--fresh') == 0
    assert summary.read_bytes() != before
    assert evaluate(place) == 0


def test_other_options_do_not_replace_an_evaluation(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(place) == 0
    summary = place / 'out' / 'images' / 'summary.json'
    before = summary.read_bytes()
    export = ('--coco', place / 'coco')
    for more in (('--limit', 1), ('--limit', 1, *export)):
        assert evaluate(place, *more) == 1
        assert 'limit (None, now 1)' in ' '.join(capfd.readouterr().err.split())
        assert summary.read_bytes() == before
    # The same evaluation is repeated for an export, and only for that.
    assert evaluate(place, *export) == 0
    assert (place / 'coco' / 'labels.json').exists()


def test_the_state_of_a_folder_is_that_of_its_files(place: Path) -> None:
    folder = place / 'images'
    before = input_state(folder)
    (folder / 'deep').mkdir()
    (folder / '.thumbnails').write_bytes(b'x')
    (folder / 'out').mkdir()
    (folder / 'out' / MARKER).write_text('')
    (folder / 'out' / 'result.png').write_bytes(b'x')
    (folder / 'deep' / 'up').symlink_to(folder, target_is_directory=True)
    (folder / 'gone.png').symlink_to(place / 'nothing')
    assert input_state(folder) == before
    (folder / 'deep' / 'a.png').write_bytes(b'x')
    assert input_state(folder) != before
    assert input_state(place / 'nothing') == ''


def test_a_small_file_counts_by_its_bytes_and_a_large_one_by_size_and_time(tmp_path: Path) -> None:
    small, large = tmp_path / 'small', tmp_path / 'large'
    small.write_bytes(b'a' * 10)
    large.write_bytes(b'a' * (2 << 20))
    before = input_state(small), input_state(large)
    os.utime(small, ns=(1, 1))
    assert input_state(small) == before[0]
    small.write_bytes(b'b' * 10)
    assert input_state(small) != before[0]
    os.utime(large, ns=(1, 1))
    assert input_state(large) != before[1]


def test_a_pipe_or_a_camera_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it would not end."""

    def read(path: Path) -> bytes:
        raise AssertionError(f'{path} is read')

    monkeypatch.setattr(Path, 'read_bytes', read)
    os.mkfifo(tmp_path / 'pipe')
    assert input_state(tmp_path / 'pipe') == input_state(Path('/dev/zero')) == ''


def test_differences_name_the_parameter_and_both_values() -> None:
    before = {'a': 1, 'b': {'c': 2, 'd': [1]}, 'long': 'x' * 99, 'gone': 1}
    now = {'a': 1, 'b': {'c': 3, 'd': (1,)}, 'long': 'y', 'new': 5}
    found = differences(before, now)
    assert found == ['b.c (2, now 3)', 'long', 'new (None, now 5)', 'gone (1, now None)']


def test_a_study_of_links_is_not_replaced_either(place: Path) -> None:
    job = Job(str(place / 'images'), str(place / 'tiny'), place / 'out')
    settings = LinkSettings((1.0, 5.0))
    path = place / 'link.json'
    assert kept_study(path, job, settings) is None
    model = {'name': 'tiny', 'sha256': model_sha256(job.model)}
    study = LinkStudy('images', model, settings, {}, (), input_state(place / 'images'))
    write_study(path, study)
    assert kept_study(path, job, settings) == study
    with pytest.raises(OutputError, match=r'mbit_s .*now \[1.0\].*--fresh'):
        kept_study(path, job, LinkSettings((1.0,)))
    another_image(place)
    with pytest.raises(OutputError, match=r'the content of .*images.*--fresh'):
        kept_study(path, job, settings)
