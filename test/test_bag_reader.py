# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings as people have them: reindexed, cut, split, foreign, oddly named, malicious."""

from __future__ import annotations

import bz2
import shutil
import sqlite3
import struct
import sys
from pathlib import Path

import lz4.frame
import numpy as np
import pytest
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from small_bags import (
    START_NS,
    TYPES,
    Contents,
    header,
    image_message,
    picture,
    write_bag,
    write_bag1,
    write_messages,
)

from mt_perception.errors import BagError
from mt_perception.sources import is_bag, open_source
from mt_perception.sources.bag_reader import BagReader
from mt_perception.sources.inflate import LIMIT_VARIABLE, inflate, inflate_file

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

IMAGE = 'sensor_msgs/msg/Image'
STORAGES = list(StoragePlugin)


def frames_of(path: Path, **options: object) -> int:
    with open_source(path, **options) as source:
        return len(list(source))


@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('name', ['run 3', 'run #3', '50%25', 'what?', 'ü', 'a:b', "o'clock"])
def test_any_path(storage: StoragePlugin, name: str, tmp_path: Path) -> None:
    shutil.move(write_bag(tmp_path / 'bag', Contents(), storage), tmp_path / name)
    assert frames_of(tmp_path / name) == 4


@pytest.mark.parametrize('storage', STORAGES)
def test_metadata_may_be_missing_incomplete_or_rubbish(
    storage: StoragePlugin, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(), storage)
    metadata = bag / 'metadata.yaml'
    text = metadata.read_text()
    for wrong in (
        text.replace(f'storage_identifier: {storage.name.lower()}', 'storage_identifier: ""'),
        text.split('topics_with_message_count')[0],
        'a: &a [*a]',
        '\0\xff',
        '',
    ):
        metadata.write_text(wrong)
        assert frames_of(bag) == 4
    metadata.unlink()
    assert frames_of(bag) == 4


def without_definitions(bag: Path) -> None:
    """Make an SQLite bag look as ROS 2 Humble writes it."""
    with sqlite3.connect(next(bag.glob('*.db3'))) as database:
        database.execute('DROP TABLE message_definitions')
        database.execute('DROP TABLE schema')
        database.execute('ALTER TABLE topics DROP COLUMN type_description_hash')
    database.close()


def test_a_bag_without_definitions(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(boxes=True), StoragePlugin.SQLITE3)
    without_definitions(bag)
    assert frames_of(bag) == 4
    with BagReader(bag) as reader:
        boxes = [c for c in reader.channels if c.msgtype.endswith('Detection2DArray')]
        assert len(list(reader.messages(boxes))) == 4


def test_a_killed_recorders_write_ahead_log_is_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(), StoragePlugin.SQLITE3)
    file = next(bag.glob('*.db3'))
    database = sqlite3.connect(file)
    database.execute('PRAGMA journal_mode=WAL')
    database.execute('PRAGMA wal_autocheckpoint=0')
    row = database.execute('SELECT topic_id, data FROM messages LIMIT 1').fetchone()
    topics = dict(database.execute('SELECT id, type FROM topics'))
    image = next(key for key, kind in topics.items() if kind == IMAGE)
    data = database.execute('SELECT data FROM messages WHERE topic_id = ?', (image,)).fetchone()[0]
    assert row is not None
    for _ in range(3):
        database.execute(
            'INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)',
            (image, START_NS + 10**9, data),
        )
    database.commit()
    # A copy, as the recorder left it: closing the database would empty the log.
    copy = tmp_path / 'copy'
    shutil.copytree(bag, copy)
    database.close()
    with BagReader(copy) as reader:
        counts = {c.topic: c.count for c in reader.channels}
    assert max(counts.values()) == 7


def record(opcode: int, body: bytes) -> bytes:
    return struct.pack('<BQ', opcode, len(body)) + body


def text(value: bytes) -> bytes:
    return struct.pack('<I', len(value)) + value


MAGIC = b'\x89MCAP0\r\n'
MCAP_END = record(0x0F, bytes(4)) + record(0x02, bytes(20)) + MAGIC


def mcap(path: Path, *, profile: bytes = b'ros2', records: bytes = b'', images: int = 3) -> Path:
    """An MCAP file without chunks and summary: its records first, then images."""
    body = record(1, text(profile) + text(b''))
    body += records
    body += record(3, struct.pack('<H', 1) + text(IMAGE.encode()) + text(b'') + text(b''))
    body += record(4, struct.pack('<HH', 1, 1) + text(b'/image') + text(b'cdr') + text(b''))
    for index in range(images):
        time_ns = START_NS + index * 10**8
        message = image_message(header(time_ns), picture(index), 'bgr8')
        data = bytes(TYPES.serialize_cdr(message, IMAGE))
        body += record(5, struct.pack('<HIQQ', 1, index, time_ns, time_ns) + data)
    path.write_bytes(MAGIC + body + MCAP_END)
    return path


def channel(schema: bytes, kind: bytes, definition: bytes, topic: bytes, encoding: bytes) -> bytes:
    return record(3, struct.pack('<H', 9) + text(schema) + text(kind) + text(definition)) + record(
        4, struct.pack('<HH', 9, 9) + text(topic) + text(encoding) + text(b'')
    )


@pytest.mark.parametrize(
    'other',
    [
        channel(b'foxglove.Log', b'jsonschema', b'{}', b'/log', b'json'),
        channel(b'foxglove.Log', b'protobuf', b'\n\xff\xfe\x80', b'/log', b'protobuf'),
        channel(b'my_msgs/msg/Thing', b'', b'', b'/thing', b'cdr'),
        channel(b'my_msgs/msg/Thing', b'ros2msg', b'other_msgs/Lost x\n', b'/thing', b'cdr'),
        channel(b'\xff\xfe', b'what', b'', b'\xff', b'flatbuffer'),
        record(3, b'\x01'),
        record(4, b''),
        record(0x7F, b'some private record'),
    ],
)
@pytest.mark.parametrize('profile', [b'ros2', b'', b'ros1'])
def test_channels_that_are_not_read_cost_nothing(
    other: bytes, profile: bytes, tmp_path: Path
) -> None:
    assert frames_of(mcap(tmp_path / 'x.mcap', profile=profile, records=other)) == 3


@pytest.mark.parametrize(
    ('other', 'said'),
    [
        (
            channel(b'foxglove.CompressedImage', b'protobuf', b'', b'/cam', b'protobuf'),
            r'/cam \(foxglove.CompressedImage, protobuf\)',
        ),
        (
            channel(b'ffmpeg_image_transport_msgs/msg/FFMPEGPacket', b'', b'', b'/f', b'cdr'),
            'video on /f',
        ),
    ],
)
def test_a_recording_without_images_names_the_foreign_ones(
    other: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / 'x.mcap'
    path.write_bytes(MAGIC + record(1, text(b'') + text(b'')) + other + MCAP_END)
    with pytest.raises(BagError, match=said):
        open_source(path)


def test_a_cut_recording_is_read_up_to_the_cut(tmp_path: Path) -> None:
    path = mcap(tmp_path / 'x.mcap', images=6)
    path.write_bytes(path.read_bytes()[:-12000])
    with open_source(path) as source:
        assert len(list(source)) == 4
        assert source.rejects['cut_file'] == 1


def test_a_damaged_chunk_costs_itself(tmp_path: Path) -> None:
    bag = write_bag(
        tmp_path / 'bag', Contents(frames=300, depth=''), compression=CompressionMode.STORAGE
    )
    file = next(bag.glob('*.mcap'))
    content = bytearray(file.read_bytes())
    first = content.index(b'\x28\xb5\x2f\xfd')
    content[first : first + 4] = bytes(4)
    file.write_bytes(content)
    with open_source(bag) as source:
        assert 0 < len(list(source)) < 300
        assert source.rejects['damaged_chunk'] == 1


def test_damaged_pages_of_sqlite_cost_themselves(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(frames=60, depth=''), StoragePlugin.SQLITE3)
    file = next(bag.glob('*.db3'))
    content = bytearray(file.read_bytes())
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 3 * 4096] = bytes(3 * 4096)
    file.write_bytes(content)
    with open_source(bag) as source:
        stamps = {frame.stamp_ns for frame in source}
        assert 40 < len(stamps) < 60
        assert source.rejects['damaged_record'] >= 1


def test_one_damaged_part_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents())
    name = next(bag.glob('*.mcap')).name
    (bag / 'bag_1.mcap').write_bytes(bytes(500))
    metadata = bag / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace(f'- {name}', f'- {name}\n  - bag_1.mcap'))
    with open_source(bag) as source:
        assert len(list(source)) == 4
        assert any('bag_1.mcap is not read' in note for note in source.notes)


@pytest.mark.parametrize('keep', [5, 40, 100, 400, 700])
def test_a_cut_in_the_summary_costs_nothing(keep: int, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(frames=20))
    file = next(bag.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:-keep])
    assert frames_of(bag) == 20


@pytest.mark.parametrize('wrong_ns', [3, 2**63 + 5])
def test_a_receive_time_that_rolled_over_costs_nothing(wrong_ns: int, tmp_path: Path) -> None:
    times = [START_NS + i * 10**8 for i in range(6)]
    rows = [
        ('/image', wrong_ns if i == 3 else t, image_message(header(t), picture(0), 'bgr8'))
        for i, t in enumerate(times)
    ]
    with open_source(write_messages(tmp_path / 'bag', rows)) as source:
        assert sorted(frame.stamp_ns for frame in source) == times
        assert source.rate_hz == pytest.approx(10.0)


def test_a_bag_of_ros_2_eloquent(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(), StoragePlugin.SQLITE3)
    without_definitions(bag)
    with sqlite3.connect(next(bag.glob('*.db3'))) as database:
        database.execute('ALTER TABLE topics DROP COLUMN offered_qos_profiles')
    database.close()
    assert frames_of(bag) == 4


def test_a_damaged_message_costs_itself(tmp_path: Path) -> None:
    path = mcap(tmp_path / 'x.mcap')
    content = path.read_bytes()
    # The length of the second image's frame_id.
    second = [i for i in range(len(content)) if content.startswith(b'camera_optical', i)][1]
    path.write_bytes(content[: second - 4] + b'\xff\xff\xff\x7f' + content[second:])
    with open_source(path) as source:
        assert len(list(source)) == 2
        assert source.rejects['damaged_message'] == 1


def test_parts_of_one_recording_are_one_source(tmp_path: Path) -> None:
    split = tmp_path / 'split'
    split.mkdir()
    for part in range(11):
        write_bag1(split / f'rec_{part}.bag', start_ns=START_NS + part * 10**9)
    with open_source(split) as source:
        stamps = [frame.stamp_ns for frame in source]
    assert len(stamps) == 33
    assert stamps == sorted(stamps)
    shutil.copy(split / 'rec_3.bag', split / 'other.bag')
    with pytest.raises(BagError, match='several recordings'):
        open_source(split)


def test_a_missing_part_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents())
    metadata = bag / 'metadata.yaml'
    name = next(bag.glob('*.mcap')).name
    listed = metadata.read_text().replace(f'- {name}', f'- {name}\n  - bag_1.mcap')
    assert 'bag_1.mcap' in listed
    metadata.write_text(listed)
    with open_source(bag) as source:
        assert any('bag_1.mcap' in note and 'missing' in note for note in source.notes)
        assert len(list(source)) == 4


def test_upper_case_suffix_and_a_folder_of_images_beside_a_bag(tmp_path: Path) -> None:
    write_bag1(tmp_path / 'OLD.BAG')
    assert frames_of(tmp_path / 'OLD.BAG') == 3
    assert is_bag(tmp_path)
    (tmp_path / 'a.png').touch()
    assert not is_bag(tmp_path)


def test_a_ros1_bag_without_index_names_the_command(tmp_path: Path) -> None:
    whole = write_bag1(tmp_path / 'old.bag')
    cut = tmp_path / 'cut.bag'
    cut.write_bytes(whole.read_bytes()[:-300])
    with pytest.raises(BagError, match=r'rosbag reindex cut\.bag'):
        open_source(cut)


def test_an_empty_topic_is_not_chosen(tmp_path: Path) -> None:
    bag = write_messages(
        tmp_path / 'bag',
        [
            ('/a/image_raw', START_NS + i, image_message(header(START_NS + i), picture(i), 'bgr8'))
            for i in range(2)
        ],
        empty=[('/b/image_raw', IMAGE)],
    )
    assert frames_of(bag) == 2
    with pytest.raises(BagError, match=r'/b/image_raw \(without a message\)'):
        open_source(bag, topic='/c')


def test_the_rate_is_the_median_of_the_topics_own_times(tmp_path: Path) -> None:
    stamps = [START_NS + i * 10**8 for i in range(8)] + [START_NS + 3600 * 10**9]
    messages = [('/image', s, image_message(header(s), picture(0), 'bgr8')) for s in stamps]
    # Another topic whose receive time is 0, as with a simulated clock that has not begun.
    messages.insert(0, ('/other', 0, image_message(header(0), picture(0), '16UC1')))
    bag = write_messages(tmp_path / 'bag', messages)
    with open_source(bag, topic='/image') as source:
        assert source.rate_hz == pytest.approx(10.0)


def bomb(size: int) -> bytes:
    return zstd.compress(bytes(size))


def test_bombs_are_refused_and_the_refusal_can_be_lifted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bomb(65 << 20)
    assert len(data) < 10_000
    packed = tmp_path / 'x.db3.zstd'
    packed.write_bytes(data)
    with pytest.raises(BagError, match=LIMIT_VARIABLE):
        inflate(data, 'zstd')
    with pytest.raises(BagError, match=LIMIT_VARIABLE):
        inflate_file(packed, tmp_path / 'x.db3')
    with pytest.raises(BagError, match=LIMIT_VARIABLE):
        open_source(packed)
    chunk = struct.pack('<QQQI', 0, 1, 65 << 20, 0) + text(b'zstd')
    chunk = record(6, chunk + struct.pack('<Q', len(data)) + data)
    with pytest.raises(BagError, match=LIMIT_VARIABLE):
        open_source(mcap(tmp_path / 'x.mcap', records=chunk))
    monkeypatch.setenv(LIMIT_VARIABLE, '100')
    assert len(inflate(data, 'zstd')) == 65 << 20


@pytest.mark.parametrize('compression', ['zstd', 'lz4', 'bz2'])
def test_no_compression_inflates_beyond_the_limit(
    compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = bytes(3 << 20)
    data = {'zstd': zstd.compress, 'lz4': lz4.frame.compress, 'bz2': bz2.compress}[compression](
        plain
    )
    monkeypatch.setenv(LIMIT_VARIABLE, '3')
    assert inflate(data, compression) == plain
    monkeypatch.setenv(LIMIT_VARIABLE, '2')
    with pytest.raises(BagError, match=LIMIT_VARIABLE):
        inflate(data, compression)


@pytest.mark.parametrize(
    'packed', ['mcap chunk', 'mcap file', 'db3 message', 'db3 file', 'bz2', 'lz4']
)
def test_every_reader_inflates_within_the_limit(
    packed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be inflated here: each format and way of compression refuses by the limit."""
    path = tmp_path / 'bag'
    if packed in ('bz2', 'lz4'):
        path = write_bag1(tmp_path / 'x.bag', compression=packed.upper())
    else:
        storage = StoragePlugin.MCAP if packed.startswith('mcap') else StoragePlugin.SQLITE3
        mode = {'file': CompressionMode.FILE, 'message': CompressionMode.MESSAGE}
        compression = mode.get(packed.split()[1], CompressionMode.STORAGE)
        write_bag(path, Contents(depth=''), storage, compression=compression)
    assert frames_of(path) > 0
    monkeypatch.setenv(LIMIT_VARIABLE, '0')
    with pytest.raises(BagError, match=LIMIT_VARIABLE):
        frames_of(path)


@pytest.mark.parametrize('compression', ['zstd', 'lz4', 'bz2'])
def test_cut_and_foreign_chunks_are_bag_errors(compression: str) -> None:
    for data in (b'rubbish', bytes(50)):
        with pytest.raises(BagError):
            inflate(data, compression)
    with pytest.raises(BagError, match='not known'):
        inflate(b'', 'snappy')


def test_messages_and_files_in_zstd(tmp_path: Path) -> None:
    for number, (storage, mode) in enumerate(
        (storage, mode)
        for storage in STORAGES
        for mode in (CompressionMode.MESSAGE, CompressionMode.FILE)
    ):
        bag = write_bag(tmp_path / str(number), Contents(), storage, compression=mode)
        assert frames_of(bag) == 4


def test_a_camera_info_of_another_camera_is_not_taken(tmp_path: Path) -> None:
    def info(frame_id: str, focal: float) -> object:
        return TYPES.types['sensor_msgs/msg/CameraInfo'](
            header=header(START_NS, frame_id),
            height=48,
            width=64,
            distortion_model='plumb_bob',
            d=np.zeros(5),
            k=np.array([focal, 0, 32, 0, focal, 24, 0, 0, 1.0]),
            r=np.eye(3).reshape(-1),
            p=np.zeros(12),
            binning_x=0,
            binning_y=0,
            roi=TYPES.types['sensor_msgs/msg/RegionOfInterest'](
                x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
            ),
        )

    image = image_message(header(START_NS, 'colour'), picture(0), 'bgr8')
    for info_topic, frame_id, taken in (
        ('/camera/depth/camera_info', 'depth', False),
        ('/camera/depth/camera_info', '', False),
        ('/elsewhere/camera_info', 'colour', True),
        ('/camera/colour/camera_info', '0', True),
        ('/camera/colour/info/camera_info', '0', True),
        ('/camera/colour/image/camera_info', '0', True),
    ):
        shutil.rmtree(tmp_path / 'bag', ignore_errors=True)
        bag = write_messages(
            tmp_path / 'bag',
            [
                (info_topic, START_NS, info(frame_id, 50.0)),
                ('/camera/colour/image', START_NS, image),
            ],
        )
        with open_source(bag) as source:
            camera = next(iter(source)).intrinsics
            assert (camera is not None) == taken, info_topic
            assert any(info_topic in note for note in source.notes) != taken
