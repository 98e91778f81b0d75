# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compressed images: decoded when whole, refused when cut, damaged or too good to be true."""

from __future__ import annotations

import contextlib
import signal
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import ImageError
from mt_perception.image import compressed
from mt_perception.image.compressed import decode
from mt_perception.image.encodings import to_bgr
from mt_perception.image.headers import read_header


def picture(height: int = 60, width: int = 80) -> np.ndarray:
    """Smooth colours, so that lossy formats come close; different along both axes."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], 2).astype('u1')


def encoded(kind: str, image: np.ndarray | None = None, *options: int) -> bytes:
    _, data = cv2.imencode(kind, picture() if image is None else image, options)
    return data.tobytes()


def reason(data: bytes, format_: str = '') -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, format_)
    return caught.value.reason


PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
KINDS = [
    encoded('.jpg'),
    encoded('.jpg', None, *PROGRESSIVE),
    encoded('.png'),
    encoded('.bmp'),
    encoded('.webp'),
    encoded('.webp', None, cv2.IMWRITE_WEBP_QUALITY, 101),
    encoded('.tiff', None, cv2.IMWRITE_TIFF_COMPRESSION, 1),
    encoded('.ppm'),
]


def test_more_bytes_than_are_decoded_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = KINDS[0]
    monkeypatch.setattr(compressed, 'MAX_BYTES', len(data))
    assert decode(data).dtype == np.uint8
    monkeypatch.setattr(compressed, 'MAX_BYTES', len(data) - 1)
    with pytest.raises(ImageError, match=f'has {len(data)} bytes') as caught:
        decode(data)
    assert caught.value.reason == 'too_large'


@pytest.mark.parametrize('data', KINDS)
def test_every_kind(data: bytes) -> None:
    image = decode(data)
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image, picture(), atol=12)


@pytest.mark.parametrize(
    'format_', ['jpeg', 'jpg', 'bgr8; jpeg compressed bgr8', '', 'png', 'rubbish', 'h264']
)
def test_the_bytes_count_and_not_the_format_string(format_: str) -> None:
    assert decode(encoded('.jpg'), format_).shape == (60, 80, 3)


def test_grey_alpha_and_sixteen_bits_become_bgr() -> None:
    grey = picture()[..., 0]
    np.testing.assert_array_equal(decode(encoded('.png', grey)), np.stack([grey] * 3, 2))
    alpha = np.dstack([picture(), np.full((60, 80), 9, np.uint8)])
    np.testing.assert_array_equal(decode(encoded('.png', alpha)), picture())
    wide = encoded('.png', picture().astype(np.uint16) * 257)
    np.testing.assert_allclose(decode(wide), picture(), atol=1)


@pytest.mark.parametrize('data', KINDS)
@pytest.mark.parametrize('part', [0.5, 0.9, 0.999])
def test_cut_files_are_refused(data: bytes, part: float) -> None:
    assert reason(data[: int(len(data) * part)]) == 'truncated'


@pytest.mark.parametrize('data', KINDS)
def test_padding_behind_the_image_is_harmless(data: bytes) -> None:
    assert decode(data + bytes(100)).shape == (60, 80, 3)


def test_a_thumbnail_does_not_hide_that_the_image_is_cut() -> None:
    thumbnail = encoded('.jpg', picture(8, 8))
    whole = encoded('.jpg')
    segment = b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail
    with_thumbnail = whole[:2] + segment + whole[2:]
    assert decode(with_thumbnail).shape == (60, 80, 3)
    assert reason(with_thumbnail[:-50]) == 'truncated'


def test_the_orientation_of_the_file_is_ignored() -> None:
    # EXIF, little-endian, one entry: orientation (0x112) 6, a quarter turn.
    exif = b'Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0'
    whole = encoded('.jpg')
    turned = whole[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + whole[2:]
    assert decode(turned).shape == (60, 80, 3)


def png_claiming(width: int, height: int) -> bytes:
    """A valid PNG of a few kilobytes: one bit a pixel, and rows of zeros pack a thousandfold."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', crc)

    header = struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 << 20), 9)
    return (
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')
    )


def test_bombs_are_refused_by_their_header() -> None:
    assert reason(png_claiming(60_000, 60_000)) == 'too_large'
    assert reason(png_claiming(2**31 - 1, 1)) == 'too_large'
    assert reason(png_claiming(0, 5)) == 'zero_size'
    jpeg = bytearray(encoded('.jpg'))
    at = jpeg.index(b'\xff\xc0') + 5
    jpeg[at : at + 4] = b'\xff\xff\xff\xff'
    assert reason(bytes(jpeg)) == 'too_large'


def jpeg_with_scans(extra: int, side: int = 64) -> bytes:
    """A progressive JPEG whose last scan, which refines nothing, is repeated."""
    whole = encoded('.jpg', np.zeros((side, side, 3), np.uint8), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = whole.rindex(b'\xff\xda')
    return whole[:-2] + whole[last:-2] * extra + whole[-2:]


def test_scans_are_counted_before_decoding() -> None:
    assert decode(jpeg_with_scans(5)).shape == (64, 64, 3)
    assert reason(jpeg_with_scans(200)) == 'too_complex'
    # 12 scans of 8192 x 8192 pixels are one decoder's second; 40 are not.
    claims = bytearray(jpeg_with_scans(30) + bytes(200_000))
    at = claims.index(b'\xff\xc2') + 5
    claims[at : at + 4] = struct.pack('>HH', 8192, 8192)
    assert reason(bytes(claims)) == 'too_complex'


def test_segments_and_chunks_are_counted_before_decoding() -> None:
    jpeg = encoded('.jpg')
    comments = jpeg[:2] + b'\xff\xfe\0\x02' * 10_000 + jpeg[2:]
    assert reason(comments) == 'too_complex'
    png = encoded('.png')
    text = struct.pack('>I', 0) + b'tEXt' + struct.pack('>I', zlib.crc32(b'tEXt'))
    assert reason(png[:33] + text * 10_000 + png[33:]) == 'too_complex'
    webp = encoded('.webp')
    chunks = webp[12:] + b'JUNK\0\0\0\0' * 10_000
    assert reason(b'RIFF' + struct.pack('<I', len(chunks) + 4) + b'WEBP' + chunks) == 'too_complex'


def _too_slow(*_: object) -> None:
    raise TimeoutError('a header took two seconds of computation')


@pytest.mark.parametrize('run', [b' ', b'\n', b'#', b'\xff', b'\0', b'0', b'#\n', b'\xff\0'])
@pytest.mark.parametrize(
    'kind', ['.jpg', '.png', '.bmp', '.webp', '.tiff', '.ppm', '.pgm', '.gif', '.avif', '.jp2']
)
def test_headers_take_linear_time(kind: str, run: bytes) -> None:
    """Regular expressions took quadratic or exponential time: a robot was deaf for hours."""
    whole = encoded(kind, picture()[..., 0].copy() if kind == '.pgm' else None)
    before = signal.signal(signal.SIGVTALRM, _too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, 2.0)
    try:
        for cut in (2, 3, 5, 8, 12, 24, len(whole) // 2, len(whole)):
            for behind in (b'', b'x', b'\xff\xd9'):
                with contextlib.suppress(ImageError):
                    read_header(whole[:cut] + run * 60_000 + behind)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize('kind', ['.jpg', '.png'])
def test_pixels_that_the_bytes_cannot_hold_take_no_memory(kind: str) -> None:
    data = bytearray(encoded(kind))
    at = data.index(b'\xff\xc0') + 5 if kind == '.jpg' else 16
    data[at : at + (4 if kind == '.jpg' else 8)] = struct.pack(
        '>HH' if kind == '.jpg' else '>II', 8000, 8000
    )
    assert reason(bytes(data)) == 'truncated'


def test_two_frame_headers_and_many_components_are_refused() -> None:
    jpeg = encoded('.jpg')
    at = jpeg.index(b'\xff\xc0')
    frame = jpeg[at : at + 19]
    assert reason(jpeg[:at] + frame + jpeg[at:]) == 'undecodable'
    many = bytearray(jpeg)
    many[at + 9] = 200
    assert reason(bytes(many)) == 'undecodable'


def mosaic() -> np.ndarray:
    """The RGGB mosaic of one plain colour."""
    tile = np.array([[200, 60], [60, 40]], np.uint8)
    return np.tile(tile, (30, 40))


@pytest.mark.parametrize(
    ('kind', 'format_'),
    [
        ('.jpg', 'bayer_rggb8; jpeg compressed bayer_rggb8'),
        ('.jpg', 'bayer_rggb8; jpeg compressed '),
        ('.png', 'bayer_rggb8; png compressed '),
        ('.png', 'BAYER_RGGB8;png'),
    ],
)
def test_a_mosaic_is_recognised_by_the_format_string(kind: str, format_: str) -> None:
    options = (cv2.IMWRITE_JPEG_QUALITY, 100) if kind == '.jpg' else ()
    image = decode(encoded(kind, mosaic(), *options), format_)
    assert np.abs(image[10:50, 10:70].reshape(-1, 3).astype(int) - (40, 60, 200)).max() <= 8
    # Without the name it is a grey image.
    assert (np.ptp(decode(encoded(kind, mosaic())), axis=2) == 0).all()


def test_a_mosaic_of_16_bits_and_one_that_is_coloured_already() -> None:
    wide = encoded('.png', mosaic().astype(np.uint16) * 257)
    image = decode(wide, 'bayer_rggb16; png compressed ')
    np.testing.assert_array_equal(image[30, 40], (40, 60, 200))
    coloured = encoded('.png')
    np.testing.assert_array_equal(decode(coloured, 'bayer_rggb8; png'), picture())


@pytest.mark.parametrize('encoding', ['mono16', '16UC1', 'bayer_gbrg16'])
def test_16_bit_files_are_shown_as_their_raw_topic_is(encoding: str) -> None:
    grey = (7300 + 3 * picture()[..., 0].astype(int)).astype(np.uint16)
    raw = to_bgr(grey, encoding, 60, 80, 160)
    np.testing.assert_array_equal(decode(encoded('.png', grey), f'{encoding}; png '), raw)


def test_floating_point_files_are_shown_as_their_raw_topic_is() -> None:
    metres = np.linspace(0.5, 8, 4800, dtype=np.float32).reshape(60, 80)
    raw = to_bgr(metres, '32FC1', 60, 80, 320)
    np.testing.assert_array_equal(decode(encoded('.tiff', metres), '32FC1; tiff compressed '), raw)


def test_a_header_that_is_larger_than_the_data() -> None:
    jpeg = bytearray(encoded('.jpg'))
    at = jpeg.index(b'\xff\xc0') + 5
    jpeg[at : at + 2] = b'\x03\xe8'
    # libjpeg fills what is missing with grey; what matters is that the size is the header's.
    assert decode(bytes(jpeg)).shape == (1000, 80, 3)


def test_what_is_no_image() -> None:
    assert reason(b'') == 'unknown_compression'
    assert reason(b'\0' * 100, 'h264') == 'unknown_compression'
    assert reason(b'\0\0\0\1\x67' + bytes(99), 'h264') == 'video_stream'
    assert reason(b'<html>', 'jpeg') == 'unknown_compression'
    depth = bytes(12) + encoded('.png', np.zeros((4, 4), np.uint16))
    assert reason(depth, '16UC1; compressedDepth png') == 'compressed_depth'


@given(st.integers(0, len(KINDS) - 1), st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_damaged_files_decode_or_are_image_errors(kind: int, at: int, noise: bytes) -> None:
    data = bytearray(KINDS[kind])
    at %= len(data)
    data[at : at + len(noise)] = noise
    try:
        image = decode(bytes(data))
    except ImageError:
        return
    assert image.ndim == 3
