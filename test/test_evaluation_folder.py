# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Data-set folders as samples: boxes, labels, depth, splits, names that try to escape."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_bags import HEIGHT, WIDTH, picture
from tiny_model import write_tiny_model

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.dataset_folder import held_out
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.job import Job, run_job
from mt_perception.evaluation.predictor import RunSettings
from mt_perception.execution.options import Options
from mt_perception.reports import ScaleReport, scale_sentence
from mt_perception.types import Intrinsics

CLASSES = ClassMap(('person', 'vehicle'), ('person', 'ground', 'object'), read_taxonomy())


def read(path: Path, **options: Any) -> list[Sample]:
    with open_samples(str(path), SourceOptions(**options), CLASSES) as samples:
        return list(samples)


def write_images(folder: Path, names: list[str]) -> None:
    for index, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), picture(index % 5))


def coco(folder: Path, **changes: Any) -> Path:
    """Two images; a person and a crowd on the first, a banana and a bus on the second."""
    names = ['a.png', 'sub/b.png']
    write_images(folder / 'images', names)
    data = {
        'images': [{'id': i, 'file_name': n, 'split': f's{i}'} for i, n in enumerate(names)],
        'categories': [
            {'id': 7, 'name': 'person'},
            {'id': 8, 'name': 'bus'},
            {'id': 9, 'name': 'banana'},
        ],
        'annotations': [
            {'image_id': 0, 'category_id': 7, 'bbox': [1, 2, 10, 20], 'area': 99.5, 'iscrowd': 0},
            {'image_id': 0, 'category_id': 7, 'bbox': [0, 0, 60, 40], 'area': 500, 'iscrowd': 1},
            {'image_id': 1, 'category_id': 9, 'bbox': [5, 5, 5, 5]},
            {'image_id': 1, 'category_id': 8, 'bbox': [5, 5, 5, 5]},
        ],
        **changes,
    }
    (folder / 'instances.json').write_text(json.dumps(data))
    return folder


def test_coco_folder(tmp_path: Path) -> None:
    first, second = read(coco(tmp_path))
    assert (first.key, second.key) == ('a', 'sub/b')
    assert first.truth is not None
    objects = first.truth.objects
    assert objects is not None
    np.testing.assert_array_equal(objects.boxes, [[1, 2, 11, 22], [0, 0, 60, 40]])
    assert objects.class_ids.tolist() == [0, 0]
    assert objects.crowd.tolist() == [False, True]
    assert objects.areas.tolist() == [99.5, 500]
    assert objects.exhaustive == {0, 1}
    assert second.truth is not None
    assert second.truth.objects is not None
    assert second.truth.objects.class_ids.tolist() == [-1, 1]
    assert second.truth.objects.areas.tolist() == [25, 25]


def test_splits(tmp_path: Path) -> None:
    folder = coco(tmp_path)
    assert [s.key for s in read(folder, split='s1')] == ['sub/b']
    with pytest.raises(SourceError, match=r"none of them is of split 'x'; its splits: s0, s1"):
        read(folder, split='x')


def test_persons_only_says_nothing_about_vehicles(tmp_path: Path) -> None:
    folder = coco(tmp_path, categories=[{'id': 7, 'name': 'person'}], annotations=[])
    truth = read(folder)[0].truth
    assert truth is not None
    assert truth.objects is not None
    assert len(truth.objects) == 0
    assert truth.objects.exhaustive == {0}


@pytest.mark.parametrize('name', ['../secret.png', '/etc/passwd', 'sub/../../../x.png'])
def test_file_names_do_not_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / 'set'
    folder.mkdir()
    coco(folder, images=[{'id': 0, 'file_name': name}], annotations=[])
    write_images(tmp_path, ['secret.png', 'x.png'])
    with open_samples(str(folder), SourceOptions(), CLASSES) as samples:
        assert list(samples) == []
        assert samples.rejects['bad_truth'] == 1


def test_links_out_of_the_folder_are_followed_and_named(tmp_path: Path) -> None:
    folder = coco(tmp_path / 'set')
    write_images(tmp_path, ['stored.png'])
    (folder / 'images' / 'a.png').unlink()
    (folder / 'images' / 'a.png').symlink_to(tmp_path / 'stored.png')
    with open_samples(str(folder), SourceOptions(), CLASSES) as samples:
        assert [s.key for s in samples] == ['a', 'sub/b']
        assert any('links to files outside' in note for note in samples.notes)


@pytest.mark.parametrize(
    'text',
    ['', '{}', '[]', '{"images": 3, "annotations": [], "categories": []}', '[[[[', 'null'],
)
def test_instances_that_are_none(tmp_path: Path, text: str) -> None:
    folder = coco(tmp_path)
    (folder / 'instances.json').write_text(text)
    with pytest.raises(SourceError, match=r'COCO format|not valid JSON'):
        read(folder)


def rgbd(folder: Path, count: int = 30) -> Path:
    names = [f'{index:03d}.png' for index in range(count)]
    write_images(folder / 'rgb', names)
    (folder / 'depth_mm').mkdir()
    for name in names:
        depth = np.full((HEIGHT // 2, WIDTH // 2), 1500, np.uint16)
        depth[0, 0] = 0
        cv2.imwrite(str(folder / 'depth_mm' / name), depth)
    return folder


def test_rgbd_folder(tmp_path: Path) -> None:
    samples = read(rgbd(tmp_path))
    assert len(samples) == 30
    depth = samples[0].truth and samples[0].truth.depth
    assert depth is not None
    assert depth.shape == (HEIGHT, WIDTH)
    assert np.isnan(depth[:2, :2]).all()
    assert depth[5, 5] == np.float32(1.5)


def test_held_out_blocks(tmp_path: Path) -> None:
    folder = rgbd(tmp_path)
    kept = [s.key for s in read(folder, split='held_out')]
    trained = [s.key for s in read(folder, split='train')]
    assert kept == [f'{i:03d}' for i in range(10, 15)]
    assert sorted(kept + trained) == [f'{i:03d}' for i in range(30)]
    assert held_out(10)
    assert not held_out(9)


def test_intrinsics_beside_the_images(tmp_path: Path) -> None:
    folder = rgbd(tmp_path, 1)
    file = folder / 'camera-intrinsics.txt'
    file.write_text('60 0 31.5\n0 61 23.5\n0 0 1\n')
    assert read(folder)[0].frame.intrinsics == Intrinsics(60, 61, 31.5, 23.5, WIDTH, HEIGHT)
    # For images of ten times this size.
    file.write_text('600 0 319.5\n0 610 239.5\n0 0 1\n')
    camera = read(folder)[0].frame.intrinsics
    assert camera is not None
    assert (camera.fx, camera.fy, camera.width) == (60, 61, WIDTH)
    given = read(folder, camera=100.0)[0].frame.intrinsics
    assert given == Intrinsics(100, 100, 31.5, 23.5, WIDTH, HEIGHT)
    for text in ('', '1 2 3', 'a b c\n' * 3, '1 0 nan\n0 1 2\n0 0 1'):
        file.write_text(text)
        with pytest.raises(SourceError, match=r'camera-intrinsics\.txt'):
            read(folder)


def test_segmentation_folder(tmp_path: Path) -> None:
    write_images(tmp_path / 'images', ['a.png', 'b.png'])
    (tmp_path / 'labels').mkdir()
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:10], labels[10:20], labels[20:30] = 1, 2, 9
    cv2.imwrite(str(tmp_path / 'labels' / 'a.png'), labels)
    with pytest.raises(SourceError, match='--class-names'):
        read(tmp_path)
    (tmp_path / 'classes.yaml').write_text('classes: {0: void, 1: road, 2: banana}')
    first, second = read(tmp_path)
    assert second.truth is None
    assert first.truth is not None
    assert first.truth.segmentation is not None
    assert first.truth.segmentation[::10, 0].tolist() == [1, 2, 255, 255, 255]


def test_plain_images_and_truth_beside_them(tmp_path: Path) -> None:
    write_images(tmp_path / 'photos', ['x1.png', 'x10.png', 'x2.png'])
    plain = read(tmp_path / 'photos')
    assert [s.truth for s in plain] == [None] * 3
    beside = tmp_path / 'known' / 'depth_mm'
    beside.mkdir(parents=True)
    cv2.imwrite(str(beside / 'x10.png'), np.full((HEIGHT, WIDTH), 900, np.uint16))
    truths = {s.key: s.truth for s in read(tmp_path / 'photos', truth=str(tmp_path / 'known'))}
    assert truths['x1'] is None
    assert truths['x10'] is not None


def test_damaged_files_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = rgbd(tmp_path, 4)
    (folder / 'rgb' / '000.png').write_bytes(b'no image')
    (folder / 'depth_mm' / '001.png').write_bytes(b'no map')
    cv2.imwrite(str(folder / 'depth_mm' / '002.png'), np.zeros((10, 50), np.uint16))
    with open_samples(str(folder), SourceOptions(), CLASSES) as samples:
        assert [s.key for s in samples] == ['003']
        assert sum(samples.rejects.values()) == 3
        assert samples.rejects['bad_truth'] == 2


def test_sources_that_are_none(tmp_path: Path) -> None:
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.md').write_text('hello')
    for name, words in (('empty', 'no image'), ('text.md', 'no decoder'), ('none', 'not exist')):
        with pytest.raises(SourceError, match=words):
            read(tmp_path / name)


def test_real_coco(data: Path) -> None:
    samples = read(data / 'coco', split='val2017')
    assert len(samples) == 128
    truths = [s.truth for s in samples]
    assert sum(t is not None and t.segmentation is not None for t in truths) == 100


def test_real_video_has_no_truth(data: Path) -> None:
    with open_samples(str(data / 'video' / 'vtest.avi'), SourceOptions(), CLASSES) as samples:
        assert samples.length == 795
        first = next(iter(samples))
    # A stamp of 0 would mean that it is unknown.
    assert int(first.key) == first.frame.stamp_ns > 0
    assert first.truth is None


def test_a_guessed_focal_length_is_said(tmp_path: Path) -> None:
    folder = rgbd(tmp_path / 'rec', 2)
    job = Job(str(folder), str(write_tiny_model(tmp_path / 'tiny')), tmp_path / 'out')
    (note,) = run_job(job).data['notes']
    assert 'the focal length was assumed for 2 frames' in note
    known = replace(job, source_options=SourceOptions(camera=60.0), folder=tmp_path / 'known')
    assert run_job(known).data['notes'] == ()


def test_the_source_of_the_scale_is_said(tmp_path: Path) -> None:
    folder = rgbd(tmp_path / 'rec', 3)
    job = Job(
        str(folder),
        str(write_tiny_model(tmp_path / 'tiny')),
        tmp_path / 'out',
        source_options=SourceOptions(camera=60.0),
        settings=RunSettings(Options(depth_scale='ground')),
    )
    (note,) = run_job(job).data['notes']
    assert note.startswith('the scale of depth is from: network in 3 of 3 frames; 3 times: ')
    assert 'height of the camera is unknown' in note


def test_the_certainty_of_the_scale_is_a_median() -> None:
    scales = [ScaleReport('ground', 1.2, spread=spread) for spread in (0.05, 0.08, 0.3)]
    refused = ScaleReport(refused='ground covers 0.4% of the image')
    again = ScaleReport(refused='ground covers 0.0% of the image')
    assert scale_sentence([*scales, refused, again]) == (
        'the scale of depth is from: ground in 3 of 5 frames (+-8 %), network in 2 of 5 frames; '
        '2 times: ground covers …% of the image'
    )
