# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Headers of image files: kind, size, bit depth and orientation, and limits on decoding work.

A file of a few kilobytes can declare gigabytes of pixels or thousands of passes over them. The
walk over a file's segments refuses it before a decoder allocates or computes anything.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from mt_perception.errors import ImageError
from mt_perception.image.encodings import MAX_PIXELS, check_size
from mt_perception.image.tiff import (
    ORIENTATION,
    exif_orientation,
    read_tags,
    valid_orientation,
)

MAX_SEGMENTS = 4096
"""Segments, chunks or boxes of one file; a photograph with a large colour profile has 300."""

MAX_DATA_CHUNKS = 1 << 16
"""Chunks with pixels of a PNG: 8 kB each is common."""

MAX_SCANS = 100
"""Scans of a progressive JPEG; encoders write about 10."""

MAX_SCANNED_PIXELS = 1 << 30
"""Pixels of a JPEG times its scans: about 2 s of decoding."""

# Deflate encodes at most 258 bytes in 2 bits.
_DEFLATE_RATIO = 1032

# In a JPEG's entropy-coded data 0xFF is followed by 0 or a restart marker; anything else ends it.
# Only the last byte of a run of 0xFF is matched: matching the run takes quadratic time.
_JPEG_MARKER = re.compile(rb'\xff[^\x00\xd0-\xd7\xff]')
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_JPEG_SCAN, _JPEG_END, _JPEG_EXIF = 0xDA, 0xD9, 0xE1

_PNM = re.compile(rb'P[1-6](?:\s|#[^\n]*\n)')
# Not "\s+": a run of spaces could be divided in exponentially many ways.
_PNM_NUMBER = re.compile(rb'(?:\s|#[^\n]*\n)*(\d{1,9})')


@dataclass(frozen=True)
class ImageHeader:
    """The declared properties of an image file.

    Attributes:
        kind: ``JPEG``, ``PNG``, ``WebP``, ``BMP``, ``GIF``, ``TIFF``, ``PNM``, ``AVIF`` or
            ``JPEG 2000``.
        height: Rows of the stored pixel grid, before any rotation.
        width: Columns of the stored pixel grid.
        channels: Stored channels of a pixel; 0 where the header does not tell.
        bits: Bits of one channel.
        orientation: EXIF orientation, 1 to 8: how the stored grid is turned for display.
    """

    kind: str
    height: int
    width: int
    channels: int = 0
    bits: int = 8
    orientation: int = 1


def read_header(content: bytes) -> ImageHeader | None:
    """Walk over the segments of an image file without decoding it.

    Args:
        content: The whole file.

    Returns:
        Its header, or None if the bytes are of no known kind.

    Raises:
        ImageError: The file ends too early, contradicts itself, or declares more pixels,
            passes or segments than an image of a camera has.
    """
    for begins, reader in _READERS:
        if begins(content):
            header = reader(content)
            check_size(header.height, header.width)
            return header
    return None


def truncated(kind: str) -> ImageError:
    """The error for a file that ends before its image does."""
    return ImageError(
        'truncated', f'the {kind} ends before its image does; the file or message was cut'
    )


def _damaged(kind: str, what: str) -> ImageError:
    return ImageError('undecodable', f'the {kind} is damaged: {what}')


def _overlong(kind: str, found: str, limit: str) -> ImageError:
    return ImageError(
        'too_complex',
        f'the {kind} has {found}, expected at most {limit}; save it anew with an ordinary encoder',
    )


@dataclass
class _JpegWalk:
    """State of the walk over a JPEG's markers."""

    frame: tuple[int, int, int, int, int] | None = None
    blocks: int = 0
    scans: int = 0
    orientation: int = 1


def _jpeg(content: bytes) -> ImageHeader:
    """Walk over the markers to the end; libjpeg fills the missing part of a cut file with grey."""
    walk, at = _JpegWalk(), 2
    for _ in range(MAX_SEGMENTS):
        found = _JPEG_MARKER.search(content, at)
        if found is None:
            raise truncated('JPEG')
        marker, at = content[found.end() - 1], found.end()
        if marker == _JPEG_END:
            return _jpeg_header(content, walk)
        length = int.from_bytes(content[at : at + 2], 'big')
        _jpeg_segment(walk, marker, content[at + 2 : at + length])
        at += length
    raise _overlong('JPEG', f'more than {MAX_SEGMENTS} segments', str(MAX_SEGMENTS))


def _jpeg_segment(walk: _JpegWalk, marker: int, body: bytes) -> None:
    if marker in _JPEG_FRAMES:
        if walk.frame is not None:
            raise _damaged('JPEG', 'it has two frame headers')
        if len(body) < 6 or not 1 <= body[5] <= 4 or len(body) < 6 + 3 * body[5]:
            raise _damaged('JPEG', 'its frame header does not hold 1 to 4 components')
        height, width = struct.unpack('>HH', body[1:5])
        check_size(height, width)
        walk.frame = marker, body[0], height, width, body[5]
        walk.blocks = _jpeg_blocks(height, width, body[6 : 6 + 3 * body[5]])
    elif marker == _JPEG_SCAN:
        walk.scans += 1
        height, width = walk.frame[2:4] if walk.frame else (1, 1)
        most = min(MAX_SCANS, MAX_SCANNED_PIXELS // (height * width))
        if walk.scans > most:
            raise _overlong('JPEG', f'more than {most} scans', f'{most} at its size')
    elif marker == _JPEG_EXIF and body[:6] == b'Exif\0\0':
        walk.orientation = exif_orientation(body[6:])


def _jpeg_blocks(height: int, width: int, components: bytes) -> int:
    """Number of 8x8 blocks of all components; each takes at least one bit."""
    sampling = [(max(1, b >> 4), max(1, b & 15)) for b in components[1::3]]
    most_x, most_y = max(x for x, _ in sampling), max(y for _, y in sampling)
    return sum(-(-width * x // (8 * most_x)) * -(-height * y // (8 * most_y)) for x, y in sampling)


def _jpeg_header(content: bytes, walk: _JpegWalk) -> ImageHeader:
    if walk.frame is None or not walk.scans:
        raise _damaged('JPEG', 'it has no frame header or no scan')
    marker, bits, height, width, channels = walk.frame
    if marker in _JPEG_HUFFMAN_FRAMES and 8 * len(content) < walk.blocks:
        raise truncated('JPEG')
    return ImageHeader('JPEG', height, width, channels, bits, walk.orientation)


_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def _png(content: bytes) -> ImageHeader:
    """Walk over the chunks to IEND."""
    if len(content) < 33 or content[12:16] != b'IHDR':
        raise truncated('PNG')
    width, height, bits, colour = struct.unpack('>IIBB', content[16:26])
    check_size(height, width)
    if colour not in _PNG_CHANNELS:
        raise _damaged('PNG', f'colour type {colour}')
    at, data_bytes, orientation, others = 8, 0, 1, 0
    for _ in range(MAX_DATA_CHUNKS):
        length, kind = int.from_bytes(content[at : at + 4], 'big'), content[at + 4 : at + 8]
        if at + 12 + length > len(content):
            raise truncated('PNG')
        if kind == b'IEND':
            break
        if kind == b'IDAT':
            data_bytes += length
        else:
            others += 1
            if kind == b'eXIf':
                orientation = exif_orientation(content[at + 8 : at + 8 + length])
        at += 12 + length
    else:
        raise _overlong('PNG', f'more than {MAX_DATA_CHUNKS} chunks', str(MAX_DATA_CHUNKS))
    if others > MAX_SEGMENTS:
        raise _overlong('PNG', f'{others} chunks without pixels', str(MAX_SEGMENTS))
    channels = _PNG_CHANNELS[colour]
    if height * (1 + (width * channels * bits + 7) // 8) > _DEFLATE_RATIO * data_bytes:
        raise truncated('PNG')
    # Colours of a palette have 8 bits each.
    shown = 3 if colour == 3 else channels
    return ImageHeader('PNG', height, width, shown, max(8, bits), orientation)


def _webp(content: bytes) -> ImageHeader:
    """Read the canvas of the extended, lossless or lossy form (RFC 9649, section 2)."""
    end = 8 + int.from_bytes(content[4:8], 'little')
    if len(content) < max(30, end):
        raise truncated('WebP')
    orientation, at = 1, 12
    for _ in range(MAX_SEGMENTS):
        if at + 8 > end:
            break
        length = int.from_bytes(content[at + 4 : at + 8], 'little')
        if content[at : at + 4] == b'EXIF':
            exif = content[at + 8 : at + 8 + length]
            orientation = exif_orientation(exif.removeprefix(b'Exif\0\0'))
        at += 8 + length + length % 2
    else:
        raise _overlong('WebP', f'more than {MAX_SEGMENTS} chunks', str(MAX_SEGMENTS))
    chunk = content[12:16]
    if chunk == b'VP8X':
        width = 1 + int.from_bytes(content[24:27], 'little')
        height = 1 + int.from_bytes(content[27:30], 'little')
    elif chunk == b'VP8L':
        bits = int.from_bytes(content[21:25], 'little')
        height, width = 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    else:
        width = int.from_bytes(content[26:28], 'little') & 0x3FFF
        height = int.from_bytes(content[28:30], 'little') & 0x3FFF
    return ImageHeader('WebP', height, width, 3, 8, orientation)


def _bmp(content: bytes) -> ImageHeader:
    if len(content) < max(30, int.from_bytes(content[2:6], 'little')):
        raise truncated('BMP')
    if int.from_bytes(content[14:18], 'little') < 40:
        width, height, bits = struct.unpack('<HH2xH', content[18:26])
        compression = 0
    else:
        width, height, bits, compression = struct.unpack(
            '<ii2xHI', content[18:34].ljust(16, b'\0')
        )
    # A negative height means that the top row comes first.
    height = abs(height)
    check_size(height, width)
    if compression == 0 and len(content) < height * ((width * bits + 31) // 32 * 4):
        raise truncated('BMP')
    return ImageHeader('BMP', height, width, 3)


def _gif(content: bytes) -> ImageHeader:
    """Walk over the blocks to the first image, which is the one that is decoded."""
    if len(content) < 14:
        raise truncated('GIF')
    width, height, flags = struct.unpack('<HHB', content[6:11])
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    for _ in range(MAX_SEGMENTS):
        kind = content[at : at + 1]
        if kind == b'\x2c':
            right, bottom = struct.unpack('<4H', content[at + 1 : at + 9].ljust(8, b'\0'))[2:]
            check_size(bottom, right)
            if content[-1:] != b'\x3b' and b'\x00\x3b' not in content[-64:]:
                raise truncated('GIF')
            return ImageHeader('GIF', height, width, 3)
        if kind != b'\x21':
            raise truncated('GIF') if not kind else _damaged('GIF', 'an unknown block')
        at += 2
        while content[at : at + 1] not in (b'\0', b''):
            at += 1 + content[at]
        at += 1
    raise _overlong('GIF', f'more than {MAX_SEGMENTS} extensions', str(MAX_SEGMENTS))


def _tiff(content: bytes) -> ImageHeader:
    """Read the first directory (TIFF 6.0); tiles and strips may not exceed the image's limit."""
    try:
        tags = dict(read_tags(content))
    except ValueError:
        raise truncated('TIFF') from None
    width, height = tags.get(256, 0), tags.get(257, 0)
    check_size(height, width)
    tile_pixels = tags.get(322, 0) * tags.get(323, 0)
    if tile_pixels > MAX_PIXELS:
        raise ImageError(
            'too_large',
            f'the TIFF declares tiles of {tile_pixels} pixels; at most {MAX_PIXELS} are read',
        )
    samples, bits = tags.get(277, 1), tags.get(258, 1)
    if not 1 <= samples <= 4 or not 1 <= bits <= 64:
        raise ImageError(
            'undecodable',
            f'the TIFF has {samples} channels of {bits} bits; expected 1 to 4 of at most 64',
        )
    if tags.get(259, 1) == 1 and 8 * len(content) < height * width * samples * bits:
        raise truncated('TIFF')
    return ImageHeader(
        'TIFF', height, width, samples, max(8, bits), valid_orientation(tags.get(ORIENTATION, 1))
    )


def _pnm(content: bytes) -> ImageHeader:
    """Read a portable bitmap, graymap or pixmap, as text or binary."""
    numbers, at = [], 2
    kind = content[1] - ord('0')
    fields = 2 if kind in (1, 4) else 3
    for _ in range(fields):
        found = _PNM_NUMBER.match(content[at : at + 4096])
        if found is None:
            raise truncated('PNM')
        numbers.append(int(found[1]))
        at += found.end()
    width, height = numbers[:2]
    most = numbers[2] if fields == 3 else 1
    check_size(height, width)
    channels, wide = (3 if kind in (3, 6) else 1), 1 + (most > 255)
    samples = width * height * channels
    # A number of the text form takes two bytes, a digit of a bitmap one.
    needed = {1: samples, 4: height * (-(-width // 8)), 2: 2 * samples - 1, 3: 2 * samples - 1}
    if not 0 < most < 65536 or len(content) - at < needed.get(kind, samples * wide):
        raise truncated('PNM')
    return ImageHeader('PNM', height, width, channels, 8 * wide)


# How irot (quarter turns anticlockwise) and imir (axis) of HEIF read as an EXIF orientation.
_HEIF_ORIENTATION = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 1): 2, (0, 0): 4, (1, 0): 5, (3, 1): 5, (1, 1): 7, (3, 0): 7, (2, 1): 4, (2, 0): 2,
}  # fmt: skip


def _avif(content: bytes) -> ImageHeader:
    """Read the item properties of an AVIF: the largest extent and the primary rotation."""
    end = content.find(b'mdat') if b'mdat' in content else len(content)
    properties = content[:end] if b'ipco' in content[:end] else content[: 1 << 20]
    if b'ispe' not in properties:
        raise truncated('AVIF')
    sizes = [
        struct.unpack('>II', properties[m.end() + 4 : m.end() + 12].ljust(8, b'\0'))
        for m in re.finditer(b'ispe', properties)
    ]
    if len(sizes) > MAX_SEGMENTS:
        raise _overlong('AVIF', f'{len(sizes)} images', str(MAX_SEGMENTS))
    for width, height in sizes:
        check_size(height, width)
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    turns = re.search(b'irot(.)', properties, re.DOTALL)
    mirror = re.search(b'imir(.)', properties, re.DOTALL)
    key = (turns[1][0] & 3 if turns else 0, mirror[1][0] & 1 if mirror else None)
    return ImageHeader('AVIF', height, width, 3, 8, _HEIF_ORIENTATION[key])


def _jpeg2000(content: bytes) -> ImageHeader:
    """Read the SIZ marker of the code stream (ISO 15444-1, A.5.1)."""
    at = content.find(b'\xff\x4f\xff\x51')
    siz = content[at + 6 : at + 42]
    if at < 0 or len(siz) < 36:
        raise truncated('JPEG 2000')
    right, bottom, left, top, tile_x, tile_y = struct.unpack('>6I', siz[2:26])
    channels = int.from_bytes(siz[34:36], 'big')
    width, height = right - left, bottom - top
    check_size(height, width)
    tiles = -(-right // max(1, tile_x)) * -(-bottom // max(1, tile_y))
    if not tile_x or not tile_y or tiles > MAX_SEGMENTS or not 1 <= channels <= 4:
        raise _overlong('JPEG 2000', f'{tiles} tiles and {channels} channels', '4096 and 4')
    return ImageHeader('JPEG 2000', height, width, channels)


_Begins = Callable[[bytes], bool]
_READERS: tuple[tuple[_Begins, Callable[[bytes], ImageHeader]], ...] = (
    (lambda c: c[:3] == b'\xff\xd8\xff', _jpeg),
    (lambda c: c[:8] == b'\x89PNG\r\n\x1a\n', _png),
    (lambda c: c[:4] == b'RIFF' and c[8:12] == b'WEBP', _webp),
    (lambda c: c[:2] == b'BM', _bmp),
    (lambda c: c[:6] in (b'GIF87a', b'GIF89a'), _gif),
    (lambda c: c[:4] in (b'II*\0', b'MM\0*'), _tiff),
    (lambda c: _PNM.match(c[:4096]) is not None, _pnm),
    (lambda c: c[4:8] == b'ftyp' and c[8:12] in (b'avif', b'avis'), _avif),
    (lambda c: c[:12] == b'\0\0\0\x0cjP  \r\n\x87\n' or c[:4] == b'\xff\x4f\xff\x51', _jpeg2000),
)
