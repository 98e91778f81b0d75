# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Bags as samples: every format and encoding, truth by time, damaged and foreign files."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from small_bags import PERIOD_NS, START_NS, Contents, picture, true_depth, write_bag, write_bag1

from mt_perception.errors import BagError, SourceError
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.datasets.truth_topics import TruthTopics

CLASSES = ClassMap(('blue', 'green', 'red'), ('blue', 'green', 'red', 'grey'), read_taxonomy())


def read(path: Path, options: SourceOptions | None = None) -> list[Sample]:
    with open_samples(str(path), options or SourceOptions(), CLASSES) as samples:
        return list(samples)


def check_whole(samples: list[Sample]) -> None:
    assert [s.key for s in samples] == [str(START_NS + i * PERIOD_NS) for i in range(len(samples))]
    for index, sample in enumerate(samples):
        np.testing.assert_array_equal(sample.frame.image, picture(index))
        assert sample.frame.frame_id == 'camera_optical'


@pytest.mark.parametrize('storage', StoragePlugin)
@pytest.mark.parametrize(
    'compression', [CompressionMode.NONE, CompressionMode.FILE, CompressionMode.MESSAGE]
)
def test_every_kind_of_rosbag2(
    tmp_path: Path, storage: StoragePlugin, compression: CompressionMode
) -> None:
    if storage is StoragePlugin.MCAP and compression is CompressionMode.MESSAGE:
        compression = CompressionMode.STORAGE  # What mcap has instead: compressed chunks.
    samples = read(write_bag(tmp_path / 'bag', storage=storage, compression=compression))
    assert len(samples) == 4
    check_whole(samples)
    assert samples[0].frame.intrinsics is not None
    assert samples[0].frame.intrinsics.fx == 60
    assert all(s.truth is not None and s.truth.depth is not None for s in samples)


def test_single_file_without_metadata(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag')
    check_whole(read(next(bag.glob('*.mcap'))))


def test_split_bag(tmp_path: Path) -> None:
    """A recording in two files, as ros2 bag record --max-bag-duration writes it."""
    bag = write_bag(tmp_path / 'bag', Contents(frames=6))
    half = write_bag(tmp_path / 'first', Contents(frames=3))
    info = yaml.safe_load((bag / 'metadata.yaml').read_text())
    shutil.copy(next(half.glob('*.mcap')), bag / 'first.mcap')
    body = info['rosbag2_bagfile_information']
    body['relative_file_paths'].insert(0, 'first.mcap')
    (bag / 'metadata.yaml').write_text(yaml.safe_dump(info))
    keys = [s.key for s in read(bag)]
    assert len(keys) == 9
    # The second file repeats stamps of the first: such keys get a number.
    assert len(set(keys)) == 9


def test_ros1_bag(tmp_path: Path) -> None:
    samples = read(write_bag1(tmp_path / 'old.bag'))
    check_whole(samples)
    assert [s.truth for s in samples] == [None] * 3


def test_compressed_images(tmp_path: Path) -> None:
    contents = Contents(cameras=['/camera/image_raw/compressed'], compressed=True, depth='')
    samples = read(write_bag(tmp_path / 'bag', contents))
    assert len(samples) == 4
    assert np.abs(samples[0].frame.image.astype(int) - picture(0)).mean() < 5


@pytest.mark.parametrize(
    ('encoding', 'tolerance_m'),
    [
        ('16UC1', 0),
        ('32FC1', 1e-6),
        ('16UC1; compressedDepth', 0),
        ('32FC1; compressedDepth png', 1e-3),
    ],
)
def test_depth_of_every_encoding(tmp_path: Path, encoding: str, tolerance_m: float) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(depth=encoding))
    for index, sample in enumerate(read(bag)):
        assert sample.truth is not None
        assert sample.truth.depth is not None
        expected = true_depth(index).astype(np.float32) / np.float32(1000)
        known = true_depth(index) > 0
        assert np.isnan(sample.truth.depth[~known]).all()
        np.testing.assert_allclose(
            sample.truth.depth[known], expected[known], rtol=1e-6, atol=tolerance_m
        )


def test_boxes_and_labels_from_topics(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(boxes=True, labels=True))
    samples = read(bag, SourceOptions(topic='/camera/image_raw'))
    for index, sample in enumerate(samples):
        truth = sample.truth
        assert truth is not None
        assert truth.objects is not None
        np.testing.assert_array_equal(truth.objects.boxes, [[8 * index, 16, 8 * index + 16, 32]])
        assert truth.objects.class_ids.tolist() == [2]
        # Nobody says that blue and green were looked for.
        assert truth.objects.exhaustive == {2}
        assert truth.segmentation is not None
        assert set(np.unique(truth.segmentation)) == {2, 3}
        assert truth.segmentation[20, 8 * index + 4] == 2


def test_truth_is_matched_by_time_within_the_tolerance(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(truth_delay_ns=30_000_000))
    with pytest.raises(BagError, match=r'no ground truth is near .* --tolerance-ms'):
        read(bag)
    near = read(bag, SourceOptions(tolerance_ms=40))
    assert all(s.truth is not None for s in near)
    # The nearest one, though the one before is within reach as well.
    wide = read(bag, SourceOptions(tolerance_ms=90))
    for index, sample in enumerate(wide):
        assert sample.truth is not None
        assert sample.truth.depth is not None
        assert np.isnan(sample.truth.depth[:4]).sum() == 4 * (4 + index)


def test_no_overlap_in_time_says_both_spans(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(truth_delay_ns=3600 * 1_000_000_000))
    with pytest.raises(BagError, match=r'1700000000\.000 to 1700000000\.300 s; depth on /cam'):
        read(bag)
    without = read(bag, SourceOptions(truth_topics=TruthTopics(depth='none')))
    assert [s.truth for s in without] == [None] * 4


def test_two_cameras_name_both_and_the_option(tmp_path: Path) -> None:
    cameras = ['/left/image_raw', '/right/image_raw']
    bag = write_bag(tmp_path / 'bag', Contents(cameras=cameras))
    with pytest.raises(BagError, match=r'--topic.*/left/image_raw, /right/image_raw'):
        read(bag)
    assert len(read(bag, SourceOptions(topic='/right/image_raw'))) == 4
    with pytest.raises(BagError, match=r"no image topic '/rear'.*: .*/left/image_raw"):
        read(bag, SourceOptions(topic='/rear'))


def test_missing_truth_topic_says_what_is_there(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag')
    with pytest.raises(BagError, match=r"no depth topic '/d'; .*/camera/depth/image_raw"):
        read(bag, SourceOptions(truth_topics=TruthTopics(depth='/d')))
    with pytest.raises(BagError, match="no boxes topic '/b'; topics of that type: none"):
        read(bag, SourceOptions(truth_topics=TruthTopics(boxes='/b')))


def test_bag_without_any_image(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(cameras=[], depth=''))
    with pytest.raises(BagError):
        read(bag)


def test_missing_metadata_and_missing_file(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag')
    (bag / 'metadata.yaml').rename(tmp_path / 'metadata.yaml')
    assert len(read(bag)) == 4
    (tmp_path / 'metadata.yaml').rename(bag / 'metadata.yaml')
    next(bag.glob('*.mcap')).unlink()
    with pytest.raises(BagError, match='cannot be read'):
        read(bag)


@pytest.mark.parametrize('storage', StoragePlugin)
@pytest.mark.parametrize('keep', [0, 1, 100, 0.3, 0.6, 0.95])
def test_truncated_files(tmp_path: Path, storage: StoragePlugin, keep: float) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(frames=200, depth=''), storage=storage)
    file = next(f for f in bag.iterdir() if f.suffix in ('.mcap', '.db3'))
    content = file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    if storage is StoragePlugin.MCAP and keep in (0.6, 0.95):
        # Chunks of a megabyte: those before the cut are read.
        assert 0 < len(read(bag)) < 200
        return
    if isinstance(keep, float):
        # Pages of an SQLite file are recovered as far as its tree is there.
        with contextlib.suppress(BagError):
            assert len(read(bag)) < 200
        return
    with pytest.raises(BagError, match=r'cannot be read|image topic'):
        read(bag)


@pytest.mark.parametrize('name', ['x.mcap', 'x.db3', 'x.bag'])
def test_foreign_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(BagError, match='cannot be read'):
        read(tmp_path / name)


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(frames=2, boxes=True))
    file = next(bag.glob('*.mcap'))
    content = bytearray(file.read_bytes())
    random = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 8):
            damaged[at] = int(random.integers(256))
        file.write_bytes(damaged)
        try:
            read(bag)
        except SourceError:
            continue


def test_unknown_message_types_are_left_alone(tmp_path: Path) -> None:
    """Other topics may hold anything, also types whose definitions nobody has."""
    bag = tmp_path / 'bag'
    write_bag(bag, Contents(), storage=StoragePlugin.SQLITE3)
    text = (bag / 'metadata.yaml').read_text()
    info = yaml.safe_load(text)
    topics = info['rosbag2_bagfile_information']['topics_with_message_count']
    stranger = {
        'message_count': 0,
        'topic_metadata': {**topics[0]['topic_metadata'], 'name': '/x', 'type': 'foo/msg/Bar'},
    }
    stranger['topic_metadata']['type_description_hash'] = ''
    topics.append(stranger)
    (bag / 'metadata.yaml').write_text(yaml.safe_dump(info))
    check_whole(read(bag))


def test_real_kitchen_bag(data: Path) -> None:
    options = SourceOptions()
    bag = data / 'bags' / 'nc_redkitchen_dev_90f'
    with open_samples(str(bag), options, CLASSES) as samples:
        assert samples.truth_kinds == ('depth',)
        assert samples.length == 90
        first = next(iter(samples))
    assert first.truth is not None
    assert first.truth.depth is not None
    assert first.truth.depth.shape == first.frame.image.shape[:2]
    assert 0.5 < np.nanmedian(first.truth.depth) < 4


def test_real_ros1_bag_with_two_cameras(data: Path) -> None:
    bag = data / 'bags' / 't265_original_ros1.bag'
    with pytest.raises(BagError, match=r'/camera/fisheye1/image_raw, /camera/fisheye2/image_raw'):
        read(bag)
    assert len(read(bag, SourceOptions(topic='/camera/fisheye2/image_raw'))) == 3
