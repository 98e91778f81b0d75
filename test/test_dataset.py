# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""`mt_perception dataset`: what it writes is what training and evaluation read."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_bags
import yaml
from click.testing import CliRunner, Result
from tiny_model import COLOURS, SEGMENTS, write_tiny_model

from mt_perception.cli.dataset import dataset
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.sources.positions import read_positions

CLASSES = ClassMap(COLOURS, SEGMENTS, read_taxonomy())


def make(*arguments: object) -> Result:
    return CliRunner().invoke(dataset, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    contents = small_bags.Contents(frames=6, depth='16UC1')
    return small_bags.write_bag(tmp_path_factory.mktemp('bags') / 'drive', contents)


def test_a_bag_becomes_a_data_set(tmp_path: Path, bag: Path) -> None:
    out = tmp_path / 'set'
    result = make(bag, '--out', out, '--every', 0.2, '--min-change', 0)
    assert result.exit_code == 0, result.output
    images = sorted(path.name for path in (out / 'images').iterdir())
    stamps = [small_bags.START_NS + n * 2 * small_bags.PERIOD_NS for n in range(3)]
    assert images == [f'drive_{stamp:019d}.jpg' for stamp in stamps]
    assert '3 frames left out: too soon' in result.output
    with open_samples(str(out), SourceOptions(), CLASSES) as samples:
        assert samples.truth_kinds == ('depth',)
        found = list(samples)
    assert len(found) == 3
    with open_samples(str(bag), SourceOptions(), CLASSES) as samples:
        first = next(iter(samples))
    assert found[0].truth is not None
    assert first.truth is not None
    np.testing.assert_allclose(found[0].truth.depth, first.truth.depth, atol=1e-3)
    assert found[0].frame.intrinsics is not None
    assert first.frame.intrinsics is not None
    assert found[0].frame.intrinsics.fx == pytest.approx(first.frame.intrinsics.fx)


def test_brackets_in_paths_are_no_markup(tmp_path: Path, bag: Path) -> None:
    done = make(bag, '--out', tmp_path / 'of [' / 'b]')
    assert done.exit_code == 0, done.output
    assert '[/b]: ' in ''.join(done.output.split('\n'))


def test_images_by_distance(tmp_path: Path) -> None:
    contents = small_bags.Contents(frames=6, speed=0.5)
    bag = small_bags.write_bag(tmp_path / 'drive', contents)
    result = make(bag, '--out', tmp_path / 'set', '--every-m', 1.2, '--min-change', 0)
    assert result.exit_code == 0, result.output
    stamps = [small_bags.START_NS + n * small_bags.PERIOD_NS for n in (0, 3)]
    found = sorted(path.name for path in (tmp_path / 'set' / 'images').iterdir())
    assert found == [f'drive_{stamp:019d}.jpg' for stamp in stamps]
    assert '4 frames left out: too near' in result.output


def test_distance_needs_positions(tmp_path: Path, bag: Path) -> None:
    with pytest.raises(SourceError, match='does not have exactly one topic with positions'):
        make(bag, '--out', tmp_path / 'a', '--every-m', 1)
    frames = write_frames(tmp_path / 'frames', [(0, 0, 250)])
    with pytest.raises(SourceError, match='is not a bag'):
        make(frames, '--out', tmp_path / 'b', '--every-m', 1)


def test_positions_are_interpolated_and_end(tmp_path: Path) -> None:
    contents = small_bags.Contents(frames=3, speed=2.0)
    positions = read_positions(small_bags.write_bag(tmp_path / 'drive', contents), '/odom')
    half = positions.at(small_bags.START_NS + small_bags.PERIOD_NS // 2)
    assert half is not None
    np.testing.assert_allclose(half, [1.0, 0, 0])
    assert positions.at(small_bags.START_NS + 2_000_000_000) is None


def write_frames(folder: Path, colours: list[tuple[int, int, int]]) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, colour in enumerate(colours):
        image = np.full((64, 64, 3), 128, np.uint8)
        image[:, :32] = colour
        noise = rng.integers(0, 4, image.shape, np.uint8)
        cv2.imwrite(str(folder / f'{number:03}.png'), image + noise)
    return folder


def test_near_duplicates_are_left_out_wherever_they_are(tmp_path: Path) -> None:
    red, blue = (0, 0, 250), (250, 0, 0)
    frames = write_frames(tmp_path / 'frames', [red, red, blue, red, blue])
    out = tmp_path / 'set'
    result = make(frames, '--out', out, '--every', 0)
    assert len(list((out / 'images').iterdir())) == 2
    assert '3 frames left out: near-duplicate' in result.output
    make(frames, '--out', tmp_path / 'all', '--every', 0, '--min-change', 0)
    assert len(list((tmp_path / 'all' / 'images').iterdir())) == 5


def test_pseudo_labels_are_marked_and_read(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / 'frames', [(0, 0, 250), (250, 0, 0)])
    model = write_tiny_model(tmp_path / 'tiny')
    out = tmp_path / 'set'
    result = make(frames, '--out', out, '--every', 0, '--model', model)
    assert 'pseudo labels of' in ' '.join(result.output.split())
    index = json.loads((out / 'instances.json').read_text())
    assert 'not checked by a person' in index['info']['description']
    assert [c['name'] for c in index['categories']] == list(COLOURS)
    assert all(0 < a['score'] <= 1 for a in index['annotations'])
    assert '# pseudo labels' in (out / 'classes.yaml').read_text()
    names = yaml.safe_load((out / 'classes.yaml').read_text())['classes']
    assert list(names.values()) == ['unlabeled', *SEGMENTS]
    with open_samples(str(out), SourceOptions(), CLASSES) as samples:
        found = list(samples)
    for sample, colour in zip(found, ('red', 'blue'), strict=True):
        truth = sample.truth
        assert truth is not None
        assert truth.objects is not None
        assert {COLOURS[i] for i in truth.objects.class_ids} == {colour}
        assert truth.segmentation is not None
        assert SEGMENTS[truth.segmentation[32, 8]] == colour


def test_nothing_is_overwritten(tmp_path: Path, bag: Path) -> None:
    out = tmp_path / 'mine'
    out.mkdir()
    (out / 'notes.txt').write_text('mine')
    with pytest.raises(SourceError, match='has files already'):
        make(bag, '--out', out)
    assert [path.name for path in out.iterdir()] == ['notes.txt']
    with pytest.raises(SourceError, match='inside the recording'):
        make(bag, '--out', bag / 'set')
    assert not (bag / 'set').exists()


def test_recordings_without_a_usable_frame_are_said(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / 'frames', [(0, 0, 250)])
    (frames / '000.png').write_bytes(b'no image')
    with pytest.raises(SourceError):
        make(frames, '--out', tmp_path / 'set')
