# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Headers of image files that are made by hand, whole, cut and changed."""

from __future__ import annotations

import struct
import zlib

import pytest

from mt_perception.errors import ImageError
from mt_perception.image import compressed, headers
from mt_perception.image.headers import read_header


def tiff(order: str, *tags: tuple[int, int, int]) -> bytes:
    """A directory of (tag, type, value)."""
    entries = b''.join(
        struct.pack(order + 'HHI', tag, kind, 1)
        + struct.pack(order + {1: 'B3x', 3: 'H2x', 4: 'I'}[kind], value)
        for tag, kind, value in tags
    )
    start = b'II*\0' if order == '<' else b'MM\0*'
    return start + struct.pack(order + 'IH', 8, len(tags)) + entries + bytes(4)


def box(kind: bytes, *content: bytes) -> bytes:
    body = b''.join(content)
    return struct.pack('>I', 8 + len(body)) + kind + body


def made_by_hand() -> dict[str, bytes]:
    """The smallest files of each kind that a header can be read of: 20 rows of 30 pixels."""
    exif = tiff('>', (274, 3, 6))
    sof = struct.pack('>BHHB', 8, 20, 30, 3) + bytes([1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1])
    jpeg = b'\xff\xd8'
    segments = [(0xE1, b'Exif\0\0' + exif), (0xC0, sof), (0xDA, b'\x01\1\0\0\x3f\0')]
    for marker, body in segments:
        jpeg += bytes([255, marker]) + struct.pack('>H', 2 + len(body)) + body
    jpeg += b'\x12\xff\0\x34\xff\xd1\x56\xff\xd9'
    png = b'\x89PNG\r\n\x1a\n'
    ihdr = struct.pack('>IIBBBBB', 30, 20, 16, 2, 0, 0, 0)
    for kind, body in ((b'IHDR', ihdr), (b'eXIf', exif), (b'IDAT', bytes(9)), (b'IEND', b'')):
        png += struct.pack('>I', len(body)) + kind + body + bytes(4)

    def riff(*chunks: tuple[bytes, bytes]) -> bytes:
        body = b''.join(
            kind + struct.pack('<I', len(c)) + c + bytes(len(c) % 2) for kind, c in chunks
        )
        return b'RIFF' + struct.pack('<I', 4 + len(body)) + b'WEBP' + body

    size = (29).to_bytes(3, 'little') + (19).to_bytes(3, 'little')
    lossy = bytes(3) + b'\x9d\x01\x2a' + struct.pack('<HH', 0x4000 | 30, 0x8000 | 20)
    lossless = b'\x2f' + struct.pack('<I', 29 | 19 << 14) + bytes(5)
    pixels = bytes(20 * 92)
    new = struct.pack('<IiiHHI', 40, 30, -20, 1, 24, 0) + bytes(20)
    old = struct.pack('<IHHHH', 12, 30, 20, 1, 24)
    siz = struct.pack('>HH8IH', 47, 0, 40, 25, 10, 5, 16, 16, 0, 0, 3)
    sizes = [(257, 4, 20), (256, 3, 30), (258, 3, 8), (277, 3, 3), (274, 3, 8)]
    return {
        'jpeg': jpeg,
        'png': png,
        'webp': riff((b'VP8X', bytes(4) + size), (b'EXIF', b'Exif\0\0' + exif)),
        'webp lossy': riff((b'VP8 ', lossy)),
        'webp lossless': riff((b'VP8L', lossless)),
        'bmp': b'BM' + struct.pack('<I4xI', 54 + len(pixels), 54) + new + pixels,
        'bmp of OS/2': b'BM' + struct.pack('<I4xI', 26 + len(pixels), 26) + old + pixels,
        'gif': b'GIF89a' + struct.pack('<HHB2x', 30, 20, 0x80) + bytes(6) + b'\x21\xf9\1\0\0'
        + b'\x2c' + struct.pack('<4H', 0, 0, 30, 20) + b'\0\2\1\0\0\x3b',
        'tiff': tiff('<', *sizes, (322, 4, 16), (323, 3, 16)) + bytes(1800),
        'tiff of Motorola': tiff('>', *sizes, (259, 3, 5)),
        'pbm': b'P1 # x\n30 20\n' + b'0' * 600,
        'pgm': b'P2\n30 20 255\n' + b'0 ' * 600,
        'raw pbm': b'P4 30 20\n' + bytes(80),
        'raw pgm': b'P5 30 20 256\n' + bytes(1200),
        'raw ppm': b'P6 30 20 255\n' + bytes(1800),
        'avif': box(b'ftyp', b'avif') + box(
            b'meta', box(b'ipco', box(b'ispe', struct.pack('>III', 0, 30, 20)),
                         box(b'ispe', struct.pack('>III', 0, 4, 9)), b'irot\1', b'imir\1')
        ) + box(b'mdat', b'ispe', bytes(12)),
        'jpeg 2000': b'\xff\x4f\xff\x51' + siz + bytes(9),
    }  # fmt: skip


def header_of(content: bytes) -> tuple[object, ...]:
    try:
        header = read_header(content)
    except ImageError as error:
        return (error.reason,)
    return () if header is None else tuple(vars(header).values())


def test_headers_made_by_hand() -> None:
    found = {name: header_of(content) for name, content in made_by_hand().items()}
    assert found == {
        'jpeg': ('JPEG', 20, 30, 3, 8, 6),
        'png': ('PNG', 20, 30, 3, 16, 6),
        'webp': ('WebP', 20, 30, 3, 8, 6),
        'webp lossy': ('WebP', 20, 30, 3, 8, 1),
        'webp lossless': ('WebP', 20, 30, 3, 8, 1),
        'bmp': ('BMP', 20, 30, 3, 8, 1),
        'bmp of OS/2': ('BMP', 20, 30, 3, 8, 1),
        'gif': ('GIF', 20, 30, 3, 8, 1),
        'tiff': ('TIFF', 20, 30, 3, 8, 8),
        'tiff of Motorola': ('TIFF', 20, 30, 3, 8, 8),
        'pbm': ('PNM', 20, 30, 1, 8, 1),
        'pgm': ('PNM', 20, 30, 1, 8, 1),
        'raw pbm': ('PNM', 20, 30, 1, 8, 1),
        'raw pgm': ('PNM', 20, 30, 1, 16, 1),
        'raw ppm': ('PNM', 20, 30, 3, 8, 1),
        'avif': ('AVIF', 20, 30, 3, 8, 7),
        'jpeg 2000': ('JPEG 2000', 20, 30, 3, 8, 1),
    }


def test_cut_and_changed_headers_read_as_recorded() -> None:
    """A checksum of what is read where one byte is another one, or bytes are missing."""
    found = []
    for content in made_by_hand().values():
        found += [header_of(content[:-cut]) for cut in range(1, len(content))]
        for at in range(min(len(content), 160)):
            for value in (0, 1, 3, 127, 255, content[at] ^ 1, content[at] ^ 2):
                found.append(header_of(content[:at] + bytes([value]) + content[at + 1 :]))
    assert zlib.crc32(repr(found).encode()) == 2120212584


@pytest.mark.parametrize('components', range(6))
def test_a_jpeg_has_one_to_four_components(components: int) -> None:
    sampling = b''.join(bytes([number, 0x11, 0]) for number in range(components))
    frame = struct.pack('>BHHB', 8, 20, 30, components) + sampling
    content = b'\xff\xd8'
    for marker, body in ((0xC0, frame), (0xDA, b'\x01\1\0\0\x3f\0')):
        content += bytes([255, marker]) + struct.pack('>H', 2 + len(body)) + body
    expected = ('JPEG', 20, 30, components, 8, 1) if 1 <= components <= 4 else ('undecodable',)
    assert header_of(content + b'\xff\xd9') == expected


def test_limits_on_the_work_of_a_file() -> None:
    """The tests of compressed images show that each holds."""
    assert (headers.MAX_SEGMENTS, headers.MAX_DATA_CHUNKS, headers.MAX_SCANS) == (4096, 65536, 100)
    assert headers.MAX_SCANNED_PIXELS == 2**30
    assert compressed.MAX_BYTES == 2**28
