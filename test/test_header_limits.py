# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Both sides of every limit of the header walk, on files that hold exactly what they declare."""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import ceil

import pytest
from test_headers import box, header_of, tiff

TRUNCATED, UNDECODABLE = ('truncated',), ('undecodable',)
TOO_COMPLEX, TOO_LARGE = ('too_complex',), ('too_large',)
EXIF_6 = tiff('>', (274, 3, 6))


def segment(marker: int, body: bytes) -> bytes:
    return bytes([255, marker]) + struct.pack('>H', 2 + len(body)) + body


def jpeg(
    height: int, width: int, sampling: bytes, *, marker: int = 0xC0, scans: int = 1, size: int = 0
) -> bytes:
    """A JPEG without pixels, filled up to a size in bytes."""
    components = b''.join(bytes([i, each, 0]) for i, each in enumerate(sampling))
    frame = segment(marker, struct.pack('>BHHB', 8, height, width, len(sampling)) + components)
    head = b'\xff\xd8' + frame + segment(0xDA, b'\x01\1\0\0\x3f\0') * scans
    return head + bytes(max(0, size - len(head) - 2)) + b'\xff\xd9'


def smallest(make: Callable[[int], bytes], most: int) -> int:
    """The least size that is not truncated, by bisection."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if header_of(make(middle)) == TRUNCATED else (low, middle)
    return high


@pytest.mark.parametrize('sampling', ['11', '22 11 11', '21 12 11', '41 13 00', '11 22 14 02'])
def test_each_block_of_a_jpeg_takes_a_bit(sampling: str) -> None:
    height, width = 331, 1005
    factors = bytes.fromhex(sampling)
    pairs = [(max(1, each // 16), max(1, each % 16)) for each in factors]
    across, down = max(x for x, _ in pairs), max(y for _, y in pairs)
    blocks = sum(ceil(width * x / (8 * across)) * ceil(height * y / (8 * down)) for x, y in pairs)
    found = smallest(lambda size: jpeg(height, width, factors, size=size), 9000)
    assert found == ceil(blocks / 8)


def test_frames_of_a_jpeg() -> None:
    """Arithmetic coding and lossless frames may take less than a bit a block."""
    found = {m: header_of(jpeg(2000, 3000, b'\x11', marker=m)) for m in range(0xC0, 0xD0)}
    expected = dict.fromkeys(range(0xC0, 0xD0), ('JPEG', 2000, 3000, 1, 8, 1))
    expected |= dict.fromkeys((0xC0, 0xC1, 0xC2), TRUNCATED)
    expected |= dict.fromkeys((0xC4, 0xC8, 0xCC), UNDECODABLE)
    assert found == expected
    # The same number of blocks and bits is enough.
    assert header_of(jpeg(8, 8 * 320, b'\x11', size=40))[0] == 'JPEG'
    assert header_of(jpeg(8, 8 * 320 + 1, b'\x11', size=40)) == TRUNCATED


def test_scans_of_a_jpeg() -> None:
    for scans, side, found in (
        *((0, 64, UNDECODABLE), (100, 64, 'JPEG'), (101, 64, TOO_COMPLEX)),
        # 2^30 pixels in all.
        *((16, 8192, 'JPEG'), (17, 8192, TOO_COMPLEX)),
    ):
        header = header_of(jpeg(side, side, b'\x11', marker=0xC3, scans=scans))
        assert found in (header, header[0]), (scans, side)


def png(height: int, width: int, bits: int, colour: int, data: int, others: int = 0) -> bytes:
    ihdr = struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)
    content = b'\x89PNG\r\n\x1a\n'
    chunks = [(b'IHDR', ihdr), *[(b'tEXt', b'')] * others, (b'IDAT', bytes(data)), (b'IEND', b'')]
    for kind, body in chunks:
        content += struct.pack('>I', len(body)) + kind + body + bytes(4)
    return content


@pytest.mark.parametrize(
    ('bits', 'colour', 'row', 'channels'),
    # Bytes of a row of 13 pixels, behind the one of its filter.
    [(1, 0, 2, 1), (16, 0, 26, 1), (8, 2, 39, 3), (4, 3, 7, 3), (8, 4, 26, 2), (16, 6, 104, 4)],
)
def test_deflate_packs_a_thousandfold(bits: int, colour: int, row: int, channels: int) -> None:
    """1032 rows of n bytes come from n bytes."""
    whole = png(1032, 13, bits, colour, 1 + row)
    assert header_of(whole) == ('PNG', 1032, 13, channels, max(8, bits), 1)
    assert header_of(png(1033, 13, bits, colour, 1 + row)) == TRUNCATED
    assert header_of(png(1032, 13, bits, colour, row)) == TRUNCATED


def test_chunks_of_a_png() -> None:
    assert header_of(png(2, 1, 1, 0, 1))[:3] == ('PNG', 2, 1)  # 58 bytes: the smallest.
    for colour in (1, 5, 7):
        assert header_of(png(2, 1, 8, colour, 9)) == UNDECODABLE
    # The first chunk counts too.
    assert header_of(png(2, 1, 8, 0, 9, others=4095))[0] == 'PNG'
    assert header_of(png(2, 1, 8, 0, 9, others=4096)) == TOO_COMPLEX
    # Empty chunks with pixels, beside the header, one that is full and the end.
    head, tail = png(2, 1, 8, 0, 9)[:33], png(2, 1, 8, 0, 9)[33:]
    empty = bytes(4) + b'IDAT' + bytes(4)
    assert header_of(head + empty * 65533 + tail)[0] == 'PNG'
    assert header_of(head + empty * 65534 + tail) == TOO_COMPLEX


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b''.join(k + struct.pack('<I', len(c)) + c + bytes(len(c) % 2) for k, c in chunks)
    return b'RIFF' + struct.pack('<I', 4 + len(body)) + b'WEBP' + body


def test_webp() -> None:
    """Sizes of three bytes, flags beside them, chunks of odd length."""
    sides = [(side - 1).to_bytes(3, 'little') for side in (0x2345, 0x1234)]
    extended = (b'VP8X', bytes(4) + b''.join(sides)), (b'ICCP', b'abc'), (b'EXIF', EXIF_6)
    assert header_of(webp(*extended)) == ('WebP', 0x1234, 0x2345, 3, 8, 6)
    assert header_of(webp(*extended)[:-1]) == TRUNCATED
    lossless = b'\x2f' + struct.pack('<I', 0x2344 | 0x1233 << 14 | 0xF << 28) + bytes(5)
    assert header_of(webp((b'VP8L', lossless))) == ('WebP', 0x1234, 0x2345, 3, 8, 1)
    lossy = bytes(3) + b'\x9d\x01\x2a' + struct.pack('<HH', 0xC000 | 0x2345, 0xC000 | 0x1234)
    assert header_of(webp((b'VP8 ', lossy))) == ('WebP', 0x1234, 0x2345, 3, 8, 1)


def bmp(height: int, width: int, bits: int, compression: int, size: int) -> bytes:
    new = struct.pack('<IiiHHI', 40, width, height, 1, bits, compression)
    return (b'BM' + bytes(12) + new).ljust(size, b'\0')


def test_bmp() -> None:
    """A row takes a multiple of four bytes, unless it is compressed; files lie about theirs."""
    for width, bits, size in ((33, 1, 160), (32, 1, 80), (9, 24, 560), (5, 32, 400)):
        assert header_of(bmp(-20, width, bits, 0, size)) == ('BMP', 20, width, 3, 8, 1)
        assert header_of(bmp(20, width, bits, 0, size - 1)) == TRUNCATED
    assert header_of(bmp(2000, 3000, 8, 1, 54))[:3] == ('BMP', 2000, 3000)
    old = b'BM' + bytes(12) + struct.pack('<IHHHH', 12, 30, 20, 1, 24)
    assert header_of(old.ljust(1840, b'\0'))[:3] == ('BMP', 20, 30)
    assert header_of(old.ljust(1839, b'\0')) == TRUNCATED


def test_gif() -> None:
    """The table of colours is optional, its length is in the flags; bytes may follow the end."""
    block = b'\x2c' + struct.pack('<4H', 0, 0, 30, 20) + b'\0\2\1\0\0\x3b'
    comment = b'\x21\xfe\2ab\1c\0'
    for flags, table in ((0x80, 6), (0x8A, 24), (0x87, 768), (0x0A, 0)):
        for version in (b'GIF87a', b'GIF89a'):
            head = version + struct.pack('<HHB2x', 30, 20, flags) + bytes(table)
            for content in (head + block, head + comment * 2 + block):
                assert header_of(content) == ('GIF', 20, 30, 3, 8, 1)
            assert header_of(head + b'\1' + block) in (UNDECODABLE, TRUNCATED)
    assert header_of(head + block + bytes(62))[0] == 'GIF'
    assert header_of(head + block + bytes(63)) == TRUNCATED
    assert header_of(head + b'\x21\xfe\0' * 4095 + block)[0] == 'GIF'
    assert header_of(head + b'\x21\xfe\0' * 4096 + block) == TOO_COMPLEX
    assert header_of(head + block.replace(b'\x1e\0', b'\0\0')) == ('zero_size',)


SIDES = (256, 3, 30), (257, 3, 20)


@pytest.mark.parametrize(
    ('tags', 'found', 'pixel_bytes'),
    [
        ((), (1, 8, 1), 75),
        (((277, 3, 3), (258, 3, 16)), (3, 16, 1), 3600),
        (((277, 3, 4), (258, 3, 64), (274, 3, 5)), (4, 64, 5), 19200),
        (((277, 3, 5),), UNDECODABLE, 0),
        (((277, 3, 0),), UNDECODABLE, 0),
        (((258, 3, 65),), UNDECODABLE, 0),
        (((258, 3, 0),), UNDECODABLE, 0),
        (((322, 3, 8192), (323, 3, 8192)), (1, 8, 1), 75),
        (((322, 3, 8192), (323, 3, 8193)), TOO_LARGE, 0),
        (((274, 3, 9),), (1, 8, 1), 75),
    ],
)
@pytest.mark.parametrize('order', '<>')
def test_tiff(order: str, tags: tuple[tuple[int, int, int], ...], found: tuple[object, ...],
              pixel_bytes: int) -> None:  # fmt: skip
    head = tiff(order, *SIDES, *tags)
    if not pixel_bytes:
        assert header_of(head + bytes(20_000)) == found
        return
    whole = ('TIFF', 20, 30, *found)
    assert header_of(head.ljust(pixel_bytes, b'\0')) == whole
    if pixel_bytes > len(head):
        assert header_of(head.ljust(pixel_bytes - 1, b'\0')) == TRUNCATED
    assert header_of(tiff(order, *SIDES, *tags, (259, 3, 5))) == whole


@pytest.mark.parametrize('order', '<>')
def test_the_first_value_of_a_tiff_entry_counts(order: str) -> None:
    """Up to four bytes stand in the entry, more elsewhere; texts and empty entries are skipped."""

    def content(*entries: bytes) -> bytes:
        start = b'II*\0' if order == '<' else b'MM\0*'
        return start + struct.pack(order + 'IH', 8, len(entries)) + b''.join(entries)

    def entry(tag: int, kind: int, number: int, layout: str, *values: int) -> bytes:
        return struct.pack(order + 'HHI' + layout, tag, kind, number, *values)

    sides = entry(256, 4, 1, 'I', 30), entry(257, 1, 1, 'B3x', 20), entry(259, 3, 1, 'H2x', 5)
    behind = 10 + 5 * 12
    text, empty = entry(277, 2, 1, 'I', 2), entry(277, 3, 0, 'H2x', 2)
    for bits in (
        entry(258, 3, 2, 'HH', 16, 7),
        entry(258, 1, 4, '4B', 16, 7, 7, 7),
        entry(258, 3, 3, 'I', behind) + struct.pack(order + '3H', 16, 7, 7),
        entry(258, 4, 2, 'I', behind) + struct.pack(order + '2I', 16, 7),
        entry(258, 1, 5, 'I', behind) + bytes([16, 7, 7, 7, 7]),
    ):
        for skipped in (text, empty):
            made = content(*sides, skipped, bits)
            assert header_of(made) == ('TIFF', 20, 30, 1, 16, 1)
            assert header_of(made[:-1]) == TRUNCATED


@pytest.mark.parametrize(
    ('kind', 'most', 'pixel_bytes', 'channels', 'bits'),
    # 3 rows of 9 pixels; one blank stands before the pixels.
    [
        (1, '', 27, 1, 8), (4, '', 6, 1, 8), (2, '255', 53, 1, 8), (3, '255', 161, 3, 8),
        (5, '255', 27, 1, 8), (5, '256', 54, 1, 16), (6, '1', 81, 3, 8), (6, '65535', 162, 3, 16),
    ],
)  # fmt: skip
def test_pnm(kind: int, most: str, pixel_bytes: int, channels: int, bits: int) -> None:
    head = f'P{kind}\n# x\n9 3 {most}'.encode().rstrip()
    assert header_of(head + bytes(pixel_bytes)) == ('PNM', 3, 9, channels, bits, 1)
    assert header_of(head + bytes(pixel_bytes - 1)) == TRUNCATED
    comment = b'P5\n#' + b'x' * 5000 + b'\n9 3 255\n'
    assert header_of(comment + bytes(27)) == TRUNCATED, 'at most 4096 bytes stand before a number'
    if most:
        for wrong in ('0', '65536'):
            assert header_of(f'P{kind} 9 3 {wrong}'.encode() + bytes(999)) == TRUNCATED


def avif(*properties: bytes) -> bytes:
    return box(b'ftyp', b'avis') + box(b'meta', box(b'ipco', *properties))


def extent(width: int, height: int) -> bytes:
    return box(b'ispe', struct.pack('>III', 0, width, height))


def test_avif() -> None:
    """Quarter turns and mirrors are two bits and one; the largest extent is the image's."""
    sizes = extent(9, 4), extent(30, 20), extent(100, 2)
    table = {
        (None, None): 1, (1, None): 8, (2, None): 3, (3, None): 6, (None, 1): 2, (None, 0): 4,
        (1, 0): 5, (3, 1): 5, (1, 1): 7, (3, 0): 7, (2, 1): 4, (2, 0): 2,
    }  # fmt: skip
    for (turns, mirror), orientation in table.items():
        properties = [] if turns is None else [b'irot' + bytes([0xFC | turns])]
        properties += [] if mirror is None else [b'imir' + bytes([0xFE | mirror])]
        assert header_of(avif(*sizes, *properties)) == ('AVIF', 20, 30, 3, 8, orientation)
    assert header_of(avif(*[extent(30, 20)] * 4096))[0] == 'AVIF'
    assert header_of(avif(*[extent(30, 20)] * 4097)) == TOO_COMPLEX
    assert header_of(avif(extent(30, 20), extent(0, 20))) == ('zero_size',)
    start, meta = box(b'ftyp', b'avif'), avif(*sizes)[12:]
    pixels = box(b'mdat', b'ispe', bytes(12))
    assert header_of(start + box(b'mdat', bytes(9)) + meta)[:3] == ('AVIF', 20, 30)
    assert header_of(start + meta + pixels)[:3] == ('AVIF', 20, 30)
    assert header_of(start + box(b'mdat', bytes(1 << 20)) + meta) == TRUNCATED


def jpeg2000(right: int, bottom: int, tile: tuple[int, int], channels: int) -> bytes:
    siz = struct.pack('>HH8IH', 47, 0, right, bottom, 10, 5, *tile, 0, 0, channels)
    box_of_file = b'\0\0\0\x0cjP  \r\n\x87\n'
    return box_of_file + b'\xff\x4f\xff\x51' + siz


def test_jpeg2000() -> None:
    for content, found in (
        (jpeg2000(127, 191, (2, 3), 4), ('JPEG 2000', 186, 117, 4, 8, 1)),
        (jpeg2000(64, 64, (1, 1), 1), ('JPEG 2000', 59, 54, 1, 8, 1)),
        (jpeg2000(129, 191, (2, 3), 4), TOO_COMPLEX),
        (jpeg2000(65, 64, (1, 1), 1), TOO_COMPLEX),
        (jpeg2000(127, 193, (2, 3), 4), TOO_COMPLEX),
        (jpeg2000(127, 191, (0, 300), 4), TOO_COMPLEX),
        (jpeg2000(127, 191, (300, 0), 4), TOO_COMPLEX),
        (jpeg2000(127, 191, (2, 3), 0), TOO_COMPLEX),
        (jpeg2000(127, 191, (2, 3), 5), TOO_COMPLEX),
    ):
        assert header_of(content) == found
        assert header_of(content[:-1]) == TRUNCATED
