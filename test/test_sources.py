# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Frames from folders, videos, cameras and bags, also from damaged ones."""

from __future__ import annotations

import struct
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from rosbags.rosbag2 import StoragePlugin
from small_bags import Contents, write_bag, write_bag1

from mt_perception.errors import BagError, SourceError
from mt_perception.sources import Source, is_bag, open_source
from mt_perception.sources.frame_source import calibrated
from mt_perception.types import Intrinsics

CAMERA = Intrinsics(fx=50.0, fy=50.0, cx=32.0, cy=24.0, width=64, height=48)


def image(grey: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), grey, np.uint8)


def folder_of(path: Path, names: list[str]) -> Path:
    path.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(path / name), image(10 * number))
    return path


def greys(source: Source) -> list[int]:
    with source:
        return [round(float(frame.image.mean())) for frame in source]


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / 'images', ['frame2.png', 'frame10.png', 'frame1.png'])
    (folder / 'notes.txt').write_text('no image')
    source = open_source(folder)
    assert source.length == 3
    assert greys(source) == [20, 0, 10]


def test_stamps_of_a_folder_rise(tmp_path: Path) -> None:
    with open_source(folder_of(tmp_path / 'images', ['a.png', 'b.png', 'c.png'])) as source:
        stamps = [frame.stamp_ns for frame in source]
    assert all(later > earlier for earlier, later in pairwise(stamps))
    assert stamps[0] > 0


def test_a_damaged_image_is_left_out_and_counted(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / 'images', ['a.png', 'b.png', 'c.png'])
    (folder / 'b.png').write_bytes((folder / 'b.png').read_bytes()[:40])
    (folder / 'd.jpg').write_bytes(b'no image at all')
    source = open_source(folder)
    assert greys(source) == [0, 20]
    assert dict(source.rejects) == {'truncated': 1, 'unknown_compression': 1}


def test_a_folder_without_images_names_what_it_holds(tmp_path: Path) -> None:
    for name in ('a.HEIC', 'b.heic', 'c.xml'):
        (tmp_path / name).touch()
    with pytest.raises(SourceError, match=r'found 2 \.heic files; 1 \.xml files'):
        open_source(tmp_path)
    folder_of(tmp_path / 'left', ['a.png'])
    with pytest.raises(SourceError, match=r'sub-folders with images \(left\)'):
        open_source(tmp_path)


def test_a_folder_of_links_is_read(tmp_path: Path) -> None:
    store = folder_of(tmp_path / 'store', ['a.png', 'b.png'])
    links = tmp_path / 'links'
    links.mkdir()
    for name in ('a.png', 'b.png', 'gone.png'):
        (links / name).symlink_to(store / name)
    source = open_source(links)
    assert greys(source) == [0, 10]
    assert dict(source.rejects) == {'unreadable_file': 1}


@pytest.mark.parametrize('name', ['', '  '])
def test_an_empty_name_is_no_source(name: str) -> None:
    with pytest.raises(SourceError, match='name of the source is empty'):
        open_source(name)


def test_one_image_is_a_source(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / 'images', ['a.png', 'b.png'])
    assert greys(open_source(folder / 'b.png')) == [10]


def test_a_folder_without_images_says_what_it_expects(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r'no image; expected files that end in .*\.png'):
        open_source(tmp_path)


@pytest.fixture(scope='module')
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('video') / 'ramp.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 20.0, (64, 48))
    for number in range(12):
        writer.write(image(10 * number))
    writer.release()
    return path


def test_a_video_keeps_its_rate(video: Path) -> None:
    with open_source(video) as source:
        frames = list(source)
    assert (source.length, source.rate_hz) == (12, 20.0)
    assert [frame.stamp_ns for frame in frames] == [50_000_000 * n for n in range(1, 13)]
    assert abs(float(frames[5].image.mean()) - 50) < 3
    assert not source.rejects


@pytest.mark.parametrize('name', ['12:30:00.avi', '50%02d.avi', 'a b ä.avi'])
def test_any_name_of_a_video(
    video: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(video.read_bytes())
    monkeypatch.chdir(tmp_path)
    with open_source(name) as source:
        assert len(list(source)) == 12


def box(film: bytearray, name: bytes) -> int:
    """Offset of the content of an MP4 box."""
    return film.index(name) + 4


def test_a_video_of_variable_rate_is_stamped_by_its_own_times(tmp_path: Path) -> None:
    path = tmp_path / 'v.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    for number in range(12):
        writer.write(image(10 * number))
    writer.release()
    film = bytearray(path.read_bytes())
    # The table of durations: six frames of 0.1 s, six of 1 s; each box around it grows.
    at = box(film, b'stts')
    entries, count, delta = struct.unpack('>III', film[at + 4 : at + 16])
    assert (entries, count) == (1, 12)
    film[at + 4 : at + 16] = struct.pack('>IIIII', 2, 6, delta, 6, 10 * delta)
    for name, offset in ((b'mvhd', 16), (b'tkhd', 20), (b'mdhd', 16), (b'elst', 8)):
        at = box(film, name) + offset
        (duration,) = struct.unpack('>I', film[at : at + 4])
        film[at : at + 4] = struct.pack('>I', duration * 11 // 2)
    for name in (b'stts', b'stbl', b'minf', b'mdia', b'trak', b'moov'):
        size = box(film, name) - 8
        film[size : size + 4] = struct.pack(
            '>I', 8 + struct.unpack('>I', film[size : size + 4])[0]
        )
    path.write_bytes(film)
    with open_source(path) as source:
        stamps = [frame.stamp_ns / 1e9 for frame in source]
    assert np.diff(stamps) == pytest.approx([0.1] * 6 + [1.0] * 5, abs=0.02)
    assert not source.rejects


def test_a_film_and_a_photograph_are_turned_alike(tmp_path: Path) -> None:
    path = tmp_path / 'v.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    scene = image(90)
    scene[:24, :32] = (0, 0, 250)
    for _ in range(3):
        writer.write(scene)
    writer.release()
    film = bytearray(path.read_bytes())
    at = box(film, b'tkhd') + 40
    film[at : at + 36] = struct.pack('>9i', 0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(film)
    photograph = tmp_path / 'a.jpg'
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(scene[..., ::-1]).save(photograph, exif=exif)
    with open_source(path) as frames, open_source(photograph) as photographs:
        turned = [next(iter(source)).image for source in (frames, photographs)]
    assert turned[0].shape == turned[1].shape == (64, 48, 3)
    # The red corner comes to lie on the upper right.
    assert all(t[5, 40, 2] > 200 > t[60, 5, 2] for t in turned)


def test_a_cut_video_gives_what_it_has_and_counts_the_rest(tmp_path: Path) -> None:
    whole, cut = tmp_path / 'whole.avi', tmp_path / 'cut.avi'
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*'MJPG'), 20.0, (128, 96))
    noise = np.random.default_rng(0)
    for _ in range(12):
        writer.write(noise.integers(0, 255, (96, 128, 3), np.uint8))
    writer.release()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with open_source(cut) as source:
        frames = list(source)
    assert 0 < len(frames) < 12
    assert source.length is None or source.rejects.total() == source.length - len(frames)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'film.mp4'
    path.write_bytes(b'not a film')
    with pytest.raises(SourceError, match=r'film\.mp4 cannot be opened'):
        open_source(path)


def test_a_missing_source_says_what_there_could_be() -> None:
    with pytest.raises(SourceError, match='folder of images, a video, a bag'):
        open_source('nowhere/at/all')


def test_a_missing_camera_says_what_to_check() -> None:
    with pytest.raises(SourceError, match='camera 97 cannot be opened'):
        open_source('97')


def test_only_a_bag_has_topics(video: Path) -> None:
    with pytest.raises(SourceError, match='only a bag has topics'):
        open_source(video, topic='/camera/image_raw')


@pytest.mark.parametrize('storage', list(StoragePlugin))
@pytest.mark.parametrize('compressed', [False, True])
def test_a_bag_gives_images_with_their_camera(
    storage: StoragePlugin, compressed: bool, tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / 'bag', Contents(compressed=compressed), storage)
    assert is_bag(bag)
    with open_source(bag) as source:
        frames = list(source)
    assert len(frames) == source.length == 4
    assert all(frame.intrinsics and frame.intrinsics.fx == 60.0 for frame in frames)
    assert all(frame.frame_id == 'camera_optical' for frame in frames)
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[1].stamp_ns - frames[0].stamp_ns == 100_000_000


def test_a_ros1_bag_gives_images(tmp_path: Path) -> None:
    bag = write_bag1(tmp_path / 'old.bag')
    assert is_bag(bag)
    with open_source(bag) as source:
        frames = list(source)
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 3
    assert frames[0].intrinsics is None


def test_a_calibration_takes_the_place_of_the_bags(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents())
    with open_source(bag, camera=CAMERA) as source:
        assert next(iter(source)).intrinsics == CAMERA


def test_of_two_cameras_one_must_be_named(tmp_path: Path) -> None:
    topics = ('/left/image_raw', '/right/image_raw')
    bag = write_bag(tmp_path / 'bag', Contents(cameras=topics))
    with pytest.raises(BagError, match=r'/left/image_raw, /right/image_raw'):
        open_source(bag)
    with open_source(bag, topic='/right/image_raw') as source:
        assert len(list(source)) == 4


def test_a_topic_that_is_not_there_is_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents())
    with pytest.raises(BagError, match=r"no image topic '/nowhere'; its image topics: /camera"):
        open_source(bag, topic='/nowhere')


def test_a_cut_bag_is_one_sentence(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'bag', Contents())
    file = next(path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3'))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BagError, match='cannot be read'), open_source(bag) as source:
        list(source)


def test_a_single_file_of_a_rosbag2_is_a_bag(data: Path) -> None:
    path = data / 'bags' / 'nc_redkitchen_dev_90f' / 'nc_redkitchen_dev_90f.mcap'
    with open_source(path) as source:
        frame = next(iter(source))
    assert frame.image.shape == (480, 640, 3)
    assert frame.intrinsics is not None
    assert frame.intrinsics.fx == 585.0


def test_a_calibration_follows_the_size_of_the_image() -> None:
    fitted = calibrated(CAMERA, 96, 128)
    assert fitted is not None
    assert (fitted.fx, fitted.width, fitted.height) == (100.0, 128, 96)
    assert calibrated(None, 96, 128) is None


def test_a_calibration_for_another_shape_is_refused() -> None:
    with pytest.raises(SourceError, match='64x48, but the source has 64x64'):
        calibrated(CAMERA, 64, 64)
