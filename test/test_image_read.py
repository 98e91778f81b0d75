# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Image files: every kind that folders hold, and upright whatever way the camera was held."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from mt_perception.errors import ImageError
from mt_perception.image.compressed import decode
from mt_perception.image.orientation import stored, upright
from mt_perception.image.read import IMAGE_SUFFIXES, read_image

EXIF_ORIENTATION = 0x112


def scene() -> np.ndarray:
    """Large patches of colour, different in each corner; BGR."""
    image = np.full((48, 64, 3), 90, np.uint8)
    image[:16, :24] = 0, 0, 250
    image[-16:, :24] = 250, 0, 0
    image[:16, -24:] = 0, 250, 0
    return image


def pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(image[..., ::-1]))


def write(path: Path, kind: str, orientation: int = 1, **options: object) -> Path:
    """A file whose stored grid is the scene; Pillow marks it, OpenCV must not turn it."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    if kind == 'TIFF':
        options['tiffinfo'] = {EXIF_ORIENTATION: orientation}
    elif orientation != 1:
        options['exif'] = exif
    pillow(scene()).save(path, kind, **options)
    return path


ORIENTED = [
    ('JPEG', {'quality': 97}),
    ('PNG', {}),
    ('WEBP', {'lossless': True}),
    ('TIFF', {}),
    ('AVIF', {'quality': 97}),
]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize(('kind', 'options'), ORIENTED)
def test_a_photograph_is_read_upright(
    kind: str, options: dict[str, object], orientation: int, tmp_path: Path
) -> None:
    path = write(tmp_path / 'a', kind, orientation, **options)
    if not cv2.haveImageReader(str(path)):
        pytest.skip('this OpenCV has no decoder for it')
    # Pillow's own idea of upright is the reference.
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert('RGB'))[..., ::-1]
    read = read_image(path)
    assert read.shape == expected.shape
    assert np.abs(read.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(('kind', 'options'), ORIENTED[:4])
def test_a_message_keeps_the_grid_of_the_sensor(
    kind: str, options: dict[str, object], tmp_path: Path
) -> None:
    data = write(tmp_path / 'a', kind, 6, **options).read_bytes()
    assert np.abs(decode(data).astype(int) - scene()).mean() < 4


def test_the_annotated_size_decides_between_stored_and_upright(tmp_path: Path) -> None:
    path = write(tmp_path / 'a.png', 'PNG', 6)
    assert read_image(path, (64, 48)).shape == (64, 48, 3)
    assert read_image(path, (48, 64)).shape == (48, 64, 3)
    # A size that fits neither settles nothing.
    assert read_image(path, (10, 10)).shape == (64, 48, 3)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_stored_undoes_upright(orientation: int) -> None:
    image = np.arange(24).reshape(2, 4, 3)
    assert (stored(upright(image, orientation), orientation) == image).all()


@pytest.mark.parametrize(
    'kind', ['JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'GIF', 'PPM', 'AVIF', 'JPEG2000']
)
def test_every_kind_of_file(kind: str, tmp_path: Path) -> None:
    suffix = {'JPEG': '.jpg', 'JPEG2000': '.jp2'}.get(kind, f'.{kind.lower()}')
    assert suffix in IMAGE_SUFFIXES
    path = write(tmp_path / f'a{suffix}', kind)
    if not cv2.haveImageReader(str(path)):
        pytest.skip('this OpenCV has no decoder for it')
    assert np.abs(read_image(path).astype(int) - scene()).mean() < 6


def test_a_thermal_image_is_not_black(tmp_path: Path) -> None:
    path = tmp_path / 'thermal.tiff'
    ramp = np.tile(np.linspace(7300, 8100, 64).astype(np.uint16), (48, 1))
    cv2.imwrite(str(path), ramp)
    assert read_image(path).std() > 50
    full = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    cv2.imwrite(str(path), full)
    np.testing.assert_allclose(read_image(path)[0, :, 0], np.linspace(0, 255, 64), atol=1)


def test_a_folder_a_missing_file_and_no_image_are_image_errors(tmp_path: Path) -> None:
    (tmp_path / 'text.jpg').write_text('no image')
    for path, reason in (
        (tmp_path, 'unreadable_file'),
        (tmp_path / 'missing.png', 'unreadable_file'),
        (tmp_path / 'text.jpg', 'unknown_compression'),
    ):
        with pytest.raises(ImageError, match=path.name) as caught:
            read_image(path)
        assert caught.value.reason == reason


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / 'huge.png'
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.reason == 'too_large'


def test_an_animation_is_its_first_image(tmp_path: Path) -> None:
    first, second = pillow(scene()), pillow(np.zeros_like(scene()))
    for kind, options in (('GIF', {}), ('PNG', {}), ('WEBP', {'lossless': True})):
        data = io.BytesIO()
        first.save(data, kind, save_all=True, append_images=[second], **options)
        (tmp_path / 'a').write_bytes(data.getvalue())
        if cv2.haveImageReader(str(tmp_path / 'a')):
            assert np.abs(read_image(tmp_path / 'a').astype(int) - scene()).mean() < 4
