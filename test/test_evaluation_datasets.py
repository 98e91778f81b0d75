# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Data sets as people have them: damaged entries, layouts, palettes, truth that is not used."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_bags import HEIGHT, WIDTH, picture, png

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.coco import read_coco_file
from mt_perception.evaluation.datasets.layout import find_layout
from mt_perception.evaluation.datasets.maps import decode_map, read_depth_map
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample, TrueObjects
from mt_perception.evaluation.datasets.truth_files import read_annotations

CLASSES = ClassMap(('person', 'vehicle'), ('person', 'ground', 'object'), read_taxonomy())
BOX = {'id': 1, 'image_id': 7, 'category_id': 1, 'bbox': [10, 10, 20, 20], 'area': 300}


def put(path: Path, content: str | NDArray[Any] | None = None) -> Path:
    """A text file, a map, or a photograph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.write_text(content)
    else:
        cv2.imwrite(str(path), picture(0) if content is None else content)
    return path


def coco(**changes: Any) -> str:
    return json.dumps(
        {
            'images': [{'id': 7, 'file_name': 'a.jpg', 'width': WIDTH, 'height': HEIGHT}],
            'categories': [{'id': 1, 'name': 'person'}],
            'annotations': [BOX],
            **changes,
        }
    )


def read(path: Path, **options: Any) -> tuple[list[Sample], list[str]]:
    with open_samples(str(path), SourceOptions(**options), CLASSES) as samples:
        return list(samples), list(samples.all_notes())


def objects(sample: Sample) -> TrueObjects:
    assert sample.truth is not None
    assert sample.truth.objects is not None
    return sample.truth.objects


@pytest.mark.parametrize(
    ('entry', 'reason'),
    [
        ({'bbox': []}, 'four finite numbers'),
        ({'bbox': None}, 'four finite numbers'),
        ({'bbox': [1, 1, float('nan'), 9]}, 'four finite numbers'),
        ({'bbox': [1, 1, 10**400, 9]}, 'four finite numbers'),
        ({'bbox': ['1', 1, 2, 9]}, 'four finite numbers'),
        ({'bbox': [5, 5, 0, 0]}, 'box is empty'),
        ({'bbox': [20, 20, -5, -5]}, 'box is empty'),
        ({'image_id': 99}, 'image is not listed'),
        ({'image_id': [1]}, 'image is not listed'),
        ({'category_id': 5}, 'category is not listed'),
        (None, 'not an object'),
    ],
)
def test_one_bad_annotation_costs_one_annotation(
    tmp_path: Path, entry: dict[str, Any] | None, reason: str
) -> None:
    bad = None if entry is None else {**BOX, 'id': 42, **entry}
    put(tmp_path / 'images' / 'a.jpg')
    put(tmp_path / 'instances.json', coco(annotations=[bad, BOX]))
    (sample,), notes = read(tmp_path)
    np.testing.assert_array_equal(objects(sample).boxes, [[10, 10, 30, 30]])
    (note,) = notes
    assert reason in note
    assert '1 skipped' in note
    assert entry is None or 'annotation 42' in note


@pytest.mark.parametrize(
    ('changes', 'area'),
    [
        ({'area': None}, 400),
        ({'area': float('nan')}, 400),
        ({'area': '300'}, 400),
        ({'segmentation': [[1, 1], [], [1, 1, 5, 5, 9]]}, 300),
        ({'segmentation': {'counts': [100, 50], 'size': [HEIGHT, WIDTH]}}, 300),
        ({'image_id': '7', 'category_id': '1'}, 300),
        ({'image_id': 7.0}, 300),
    ],
)
def test_an_annotation_that_is_usable_is_used(
    tmp_path: Path, changes: dict[str, Any], area: float
) -> None:
    put(tmp_path / 'images' / 'a.jpg')
    put(tmp_path / 'instances.json', coco(annotations=[{**BOX, **changes}]))
    (sample,), _ = read(tmp_path)
    assert objects(sample).areas.tolist() == [area]


def test_byte_order_mark_and_absent_image(tmp_path: Path) -> None:
    rows = [
        {'id': 7, 'file_name': 'a.jpg'},
        {'id': 8, 'file_name': 'gone.jpg'},
        {'id': 8, 'file_name': 'other.jpg'},
        {'id': None, 'file_name': 'b.jpg'},
        {'id': 9},
        {'id': 10, 'file_name': '.'},
    ]
    put(tmp_path / 'images' / 'a.jpg')
    (tmp_path / 'instances.json').write_text(coco(images=rows), encoding='utf-8-sig')
    (sample,), notes = read(tmp_path)
    assert len(objects(sample)) == 1
    assert any('gone.jpg' in note for note in notes)
    assert any('listed twice: other.jpg' in note for note in notes)
    assert any('3 skipped, image without id or file name' in note for note in notes)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ['id', 'image_id', 'category_id', 'bbox', 'area', 'name', 'file_name']
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(_JSON, max_size=4), st.lists(_JSON, max_size=4), st.lists(_JSON, max_size=4))
def test_any_annotation_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, images: list[Any], notes: list[Any], names: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / 'any.json'
    path.write_text(json.dumps({'images': images, 'annotations': notes, 'categories': names}))
    try:
        found = read_coco_file(path)
    except SourceError:
        return
    for image in found.images:
        for annotation in image.annotations:
            assert np.isfinite(annotation.box).all()
            assert (annotation.box[2:] >= annotation.box[:2]).all()


def test_annotations_scale_with_the_image(tmp_path: Path) -> None:
    put(tmp_path / 'images' / 'a.jpg')
    rows = [{'id': 7, 'file_name': 'a.jpg', 'width': 2 * WIDTH, 'height': 2 * HEIGHT}]
    put(tmp_path / 'instances.json', coco(images=rows))
    np.testing.assert_array_equal(objects(read(tmp_path)[0][0]).boxes, [[5, 5, 15, 15]])
    rows = [{'id': 7, 'file_name': 'a.jpg', 'width': WIDTH, 'height': 3 * HEIGHT}]
    put(tmp_path / 'instances.json', coco(images=rows))
    samples, notes = read(tmp_path)
    assert samples == []
    assert 'another shape' in notes[0]


@pytest.mark.parametrize(
    ('image', 'annotations'),
    [
        ('val2017/a.jpg', 'annotations/instances_val2017.json'),
        ('a.jpg', '_annotations.coco.json'),
        ('valid/a.jpg', 'valid/_annotations.coco.json'),
        ('images/a.jpg', 'annotations.json'),
        ('images/a.jpg', 'annotations/train.json'),
        ('images/a.jpg', 'result.json'),
        ('data/a.jpg', 'labels.json'),
    ],
)
def test_layouts_of_coco(tmp_path: Path, image: str, annotations: str) -> None:
    put(tmp_path / image)
    put(tmp_path / annotations, coco())
    (sample,), notes = read(tmp_path)
    assert len(objects(sample)) == 1
    assert notes == []


@pytest.mark.parametrize(
    ('image', 'labels'),
    [
        ('images/a.jpg', 'labels/a.txt'),
        ('images/val/a.jpg', 'labels/val/a.txt'),
        ('valid/images/a.jpg', 'valid/labels/a.txt'),
    ],
)
def test_layouts_of_yolo(tmp_path: Path, image: str, labels: str) -> None:
    put(tmp_path / image)
    lines = ['0 0.5 0.5 0.25 0.5', '0 0.0 0.0 0.5 0.0 0.5 0.5', '7 0.5 0.5 0.1 0.1', 'x', '0 1']
    put(tmp_path / labels, '\n'.join(lines) + '\n')
    put(tmp_path / 'data.yaml', 'names: [person]\nnc: 1\n')
    (sample,), notes = read(tmp_path)
    expected = [
        [WIDTH * 0.375, HEIGHT * 0.25, WIDTH * 0.625, HEIGHT * 0.75],
        [0, 0, WIDTH / 2, HEIGHT / 2],
    ]
    np.testing.assert_allclose(objects(sample).boxes, expected)
    assert len(notes) == 3


def test_yolo_without_names_is_said(tmp_path: Path) -> None:
    put(tmp_path / 'images' / 'a.jpg')
    put(tmp_path / 'labels' / 'a.txt', '0 0.5 0.5 0.25 0.5\n')
    (sample,), notes = read(tmp_path)
    assert sample.truth is None
    assert '--class-names' in notes[0]
    put(tmp_path / 'names.yaml', 'names: {0: person}\n')
    (sample,), notes = read(tmp_path, class_names=str(tmp_path / 'names.yaml'))
    assert len(objects(sample)) == 1


def test_several_splits_need_a_name(tmp_path: Path) -> None:
    for split in ('train', 'valid'):
        put(tmp_path / split / f'{split}.jpg')
        put(tmp_path / split / '_annotations.coco.json', coco())
    with pytest.raises(SourceError, match='the splits train, valid; name one with --split'):
        read(tmp_path)
    with pytest.raises(SourceError, match="no split 'test'"):
        read(tmp_path, split='test')
    assert find_layout(tmp_path, 'valid').images == tmp_path / 'valid'


def test_tum_sequence(tmp_path: Path) -> None:
    for time, shift in (('1305031101.175304', 0.004), ('1305031102.175304', 0.5)):
        put(tmp_path / 'rgb' / f'{time}.png')
        depth = np.full((HEIGHT, WIDTH), 7500, np.uint16)
        put(tmp_path / 'depth' / f'{float(time) + shift:.6f}.png', depth)
    (first, second), notes = read(tmp_path)
    assert first.truth is not None
    assert first.truth.depth is not None
    assert first.truth.depth[0, 0] == np.float32(1.5)
    assert second.truth is None
    assert 'TUM RGB-D' in notes[0]
    line = '1305031102.175304 rgb/1305031102.175304.png 1305031102.675304 depth/{}.png\n'
    put(tmp_path / 'associations.txt', '# comment\n' + line.format('1305031102.675304'))
    (first, second), _ = read(tmp_path)
    assert first.truth is None
    assert second.truth is not None


@pytest.mark.parametrize(
    ('file', 'words'),
    [
        ('Annotations/a.xml', 'Pascal VOC'),
        ('images/a.xml', 'convert them to COCO'),
        ('images/a.json', 'convert them to COCO'),
        ('depth/a.png', 'depth_mm'),
        ('labels/a.jpg', 'no PNG file'),
        ('my_annotations.json', 'COCO format'),
    ],
)
def test_an_unknown_layout_is_said(tmp_path: Path, file: str, words: str) -> None:
    put(tmp_path / 'images' / 'a.jpg')
    put(tmp_path / file, None if file.endswith(('png', 'jpg')) else '{}')
    (sample,), notes = read(tmp_path)
    assert sample.truth is None
    assert any(words in note for note in notes), notes


def test_truth_that_matches_nothing_is_said(tmp_path: Path) -> None:
    put(tmp_path / 'images' / 'a.jpg')
    put(tmp_path / 'semantic' / 'a_mask.png', np.zeros((HEIGHT, WIDTH), np.uint8))
    put(tmp_path / 'names.yaml', 'classes: {0: person}')
    _, notes = read(tmp_path)
    assert 'no image has ground truth (labels)' in notes[0]
    assert "'a'" in notes[0]


def test_maps_and_images_in_sub_folders(tmp_path: Path) -> None:
    for name, value in (('x/a', 1), ('y/a', 300)):
        put(tmp_path / 'images' / f'{name}.jpg')
        put(tmp_path / 'masks' / f'{name}.png', np.full((HEIGHT, WIDTH), value, np.uint16))
    put(tmp_path / 'names.yaml', 'classes: {1: person, 300: ground, 44: object}')
    samples, _ = read(tmp_path)
    maps = [sample.truth and sample.truth.segmentation for sample in samples]
    assert [None if m is None else m[0, 0] for m in maps] == [0, 1]


def palette_png(indices: NDArray[np.uint8], bits: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack('>I', zlib.crc32(kind + body))
        return struct.pack('>I', len(body)) + kind + body + checksum

    rows = b''
    for row in indices:
        spread = np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].reshape(-1)
        rows += b'\0' + np.packbits(spread).tobytes()
    header = struct.pack('>IIBBBBB', indices.shape[1], indices.shape[0], bits, 3, 0, 0, 0)
    palette = bytes(i * 37 % 256 for i in range(3 << bits))
    chunks = [(b'IHDR', header), (b'PLTE', palette), (b'tRNS', b'\0')]
    chunks += [(b'IDAT', zlib.compress(rows)), (b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*each) for each in chunks)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
def test_palette_indices_are_class_ids(bits: int) -> None:
    indices = np.random.default_rng(0).integers(0, 1 << bits, (7, 13)).astype(np.uint8)
    np.testing.assert_array_equal(decode_map(palette_png(indices, bits), 'x'), indices)


def test_grey_of_one_bit_is_not_spread() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (5, 9)).astype(np.uint8)
    data = cv2.imencode('.png', mask, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()
    assert data[24] == 1
    np.testing.assert_array_equal(decode_map(data, 'x'), mask)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_a_damaged_map_is_refused_or_decoded(noise: bytes, at: int) -> None:
    data = bytearray(palette_png(np.arange(64, dtype=np.uint8).reshape(8, 8), 8))
    data[at : at + len(noise)] = noise
    try:
        values = decode_map(bytes(data), 'x')
    except SourceError:
        return
    assert values.ndim == 2


def test_depth_of_other_units(tmp_path: Path) -> None:
    path = tmp_path / 'a.png'
    path.write_bytes(png(np.uint16([[0, 7500]])))
    depth = read_depth_map(path, 5000)
    assert np.isnan(depth[0, 0])
    assert depth[0, 1] == np.float32(1.5)
    with pytest.raises(SourceError, match=r'none\.png cannot be read'):
        read_depth_map(tmp_path / 'none.png')


def test_polygons_for_training(tmp_path: Path) -> None:
    ring = [0, 0, 10, 0, 10, 10]
    put(tmp_path / 'images' / 'a.jpg')
    put(tmp_path / 'instances.json', coco(annotations=[{**BOX, 'segmentation': [ring, [1, 2]]}]))
    annotations = read_annotations(find_layout(tmp_path))
    assert annotations is not None
    (found,) = annotations.images[0].annotations
    np.testing.assert_array_equal(found.polygons, [np.reshape(ring, (3, 2))])


def test_a_truth_folder_without_ground_truth_is_refused(tmp_path: Path) -> None:
    put(tmp_path / 'photos' / 'a.jpg')
    put(tmp_path / 'truth' / 'Annotations' / 'a.xml', '<annotation/>')
    with pytest.raises(SourceError, match=r'has no ground truth .*; .*Pascal VOC'):
        read(tmp_path / 'photos', truth=str(tmp_path / 'truth'))
