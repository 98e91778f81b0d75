# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of MCAP files (mcap.dev/spec), also of truncated ones and with foreign channels."""

from __future__ import annotations

import heapq
import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from rosbags.typesys.msg import normalize_msgtype

from mt_perception.errors import BagError
from mt_perception.sources.bag_file import CDR, ROS1, BagFile, Channel
from mt_perception.sources.inflate import InflateLimitError, inflate

MAGIC = b'\x89MCAP0\r\n'

_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK = 0x02, 0x03, 0x04, 0x05, 0x06
_CHUNK_INDEX, _STATISTICS, _DATA_END = 0x08, 0x0B, 0x0F
_FOOTER_BYTES = 9 + 20 + len(MAGIC)

# Limit on the bytes of chunks that overlap in time and are open together.
_MOST_OPEN_BYTES = 1 << 30

_Message: TypeAlias = tuple[int, int, int, bytes]
"""Receive time, running number, channel key, data: sorts without comparing the data."""


@dataclass(frozen=True)
class _Chunk:
    """Place of a chunk's record, and the receive times that it spans."""

    start_ns: int
    end_ns: int
    offset: int
    length: int


class McapFile(BagFile):
    """One MCAP file.

    The summary at its end is used where it is sound; else the whole file is scanned, and a file
    that was cut is read up to the cut.

    Args:
        path: The file.

    Raises:
        BagError: It is no MCAP file.
        OSError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open('rb')
        self._size = path.stat().st_size
        # A cut file lacks the magic at its end.
        whole = self._size >= len(MAGIC) and self._body(self._size - len(MAGIC), 8) == MAGIC
        self._end = self._size - len(MAGIC) if whole else self._size
        self._schemas: dict[int, tuple[str, str, str]] = {}
        self._chunks: list[_Chunk] = []
        self._counts: Counter[int] = Counter()
        self._loose = False
        self._number = 0
        try:
            if self._body(0, len(MAGIC)) != MAGIC:
                raise BagError(f'{path.name} does not begin as an MCAP file does')
            if not self._read_summary():
                self._scan()
            if not self.channels and self.damage:
                raise BagError(f'{path.name} ends before its first message')
        except BaseException:
            self._file.close()
            raise
        for key, channel in self.channels.items():
            self.channels[key] = replace(channel, count=self._counts[key])

    def messages(self, keys: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (channel key, receive time in ns, data) in the order of receive times.

        Messages outside chunks come in the order of the file.
        """
        found = self._in_file_order(keys) if self._loose else self._in_time_order(keys)
        for time_ns, _, key, data in found:
            yield key, time_ns, data

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def _records(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (opcode, offset of the body, its length) of the records that are whole."""
        at = begin
        while at + 9 <= end:
            self._file.seek(at)
            opcode, length = struct.unpack('<BQ', self._file.read(9))
            if at + 9 + length > end:
                break
            yield opcode, at + 9, length
            at += 9 + length
        if at < end:
            self.damage['cut_file'] = 1

    def _body(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    def _read_summary(self) -> bool:
        """Read schemas, channels, chunks and counts from the end; False if they do not fit."""
        footer = self._size - _FOOTER_BYTES
        if footer < len(MAGIC):
            return False
        tail = self._body(footer, _FOOTER_BYTES)
        if tail[-len(MAGIC) :] != MAGIC or tail[:9] != struct.pack('<BQ', _FOOTER, 20):
            return False
        (begin,) = struct.unpack('<Q', tail[9:17])
        if not len(MAGIC) < begin < footer:
            return False
        promised = -1
        try:
            for opcode, offset, length in self._records(begin, footer):
                body = self._body(offset, length)
                if opcode == _STATISTICS:
                    promised = self._statistics(body)
                else:
                    self._declare(opcode, body)
        except (struct.error, ValueError):
            promised = -1
        inside = all(chunk.offset + chunk.length <= begin for chunk in self._chunks)
        if self.channels and self._chunks and promised == len(self._chunks) and inside:
            return True
        for kept in (self.channels, self._schemas, self._chunks, self._counts, self.damage):
            kept.clear()
        return False

    def _statistics(self, body: bytes) -> int:
        """Note times and counts; return the number of chunks."""
        chunks, self.start_ns, self.end_ns = struct.unpack('<IQQ', body[22:42])
        (counts,) = struct.unpack('<I', body[42:46])
        self._counts.update(dict(struct.iter_unpack('<HQ', body[46 : 46 + counts])))
        return int(chunks)

    def _declare(self, opcode: int, body: bytes) -> None:
        """Note a schema, a channel or a chunk's place."""
        if opcode == _SCHEMA:
            (key,) = struct.unpack('<H', body[:2])
            name, at = _string(body, 2)
            encoding, at = _string(body, at)
            self._schemas[key] = name, encoding, _string(body, at)[0]
        elif opcode == _CHANNEL:
            key, schema = struct.unpack('<HH', body[:4])
            topic, at = _string(body, 4)
            encoding, _ = _string(body, at)
            name, kind, text = self._schemas.get(schema, ('', '', ''))
            if encoding in (CDR, ROS1):
                name = normalize_msgtype(name) if name.count('/') == 1 else name
            self.channels[key] = Channel(topic, name, encoding, text, kind)
        elif opcode == _CHUNK_INDEX:
            self._chunks.append(_Chunk(*struct.unpack('<QQQQ', body[:32])))

    def _scan(self) -> None:
        """Find schemas, channels, chunks and counts by reading the whole file."""
        times: list[int] = []
        for opcode, offset, length in self._records(len(MAGIC), self._end):
            if opcode in (_DATA_END, _FOOTER):
                self.damage.clear()
                break
            if opcode == _CHUNK:
                start_ns, end_ns = struct.unpack('<QQ', self._body(offset, 16).ljust(16, b'\0'))
                self._chunks.append(_Chunk(start_ns, end_ns, offset - 9, length + 9))
                found = self._inflate(self._chunks[-1], None)
                times += [message[0] for message in found]
                self._counts.update(message[2] for message in found)
            elif opcode == _MESSAGE:
                head = self._body(offset, min(length, 22))
                if len(head) == 22:
                    key, _, time_ns = struct.unpack('<HIQ', head[:14])
                    self._loose = True
                    self._counts[key] += 1
                    times.append(time_ns)
            else:
                self._declare_safely(opcode, self._body(offset, length))
        self.start_ns, self.end_ns = (min(times), max(times)) if times else (0, 0)
        # What a first pass found damaged is counted when it is read.
        self.damage = Counter({k: n for k, n in self.damage.items() if k == 'cut_file'})

    def _declare_safely(self, opcode: int, body: bytes) -> None:
        try:
            self._declare(opcode, body)
        except (struct.error, ValueError):
            self.damage['damaged_record'] += 1

    def _inflate(self, chunk: _Chunk, keys: Collection[int] | None) -> list[_Message]:
        """The messages of a chunk, sorted by time; none, and a count, if it is damaged.

        With ``keys`` None, all messages without their data; schemas and channels are noted.
        """
        try:
            body = self._body(chunk.offset + 9, chunk.length - 9)
            _, _, size, checksum = struct.unpack('<QQQI', body[:28])
            compression, at = _string(body, 28)
            (length,) = struct.unpack('<Q', body[at : at + 8])
            packed = body[at + 8 : at + 8 + length]
            plain = inflate(packed, compression)
            if len(plain) != size or checksum not in (0, zlib.crc32(plain)):
                raise ValueError('size or checksum')
            return sorted(self._chunk_messages(plain, keys))
        except InflateLimitError:
            raise
        except (struct.error, ValueError, BagError):
            self.damage['damaged_chunk'] += 1
            return []

    def _chunk_messages(self, plain: bytes, keys: Collection[int] | None) -> Iterator[_Message]:
        at = 0
        while at + 9 <= len(plain):
            opcode, length = struct.unpack('<BQ', plain[at : at + 9])
            body, at = at + 9, at + 9 + length
            if at > len(plain):
                self.damage['damaged_record'] += 1
                return
            if opcode == _MESSAGE and length >= 22:
                key, _, time_ns = struct.unpack('<HIQ', plain[body : body + 14])
                self._number += 1
                if keys is None:
                    yield time_ns, self._number, key, b''
                elif key in keys:
                    yield time_ns, self._number, key, plain[body + 22 : at]
            elif keys is None and opcode in (_SCHEMA, _CHANNEL):
                self._declare_safely(opcode, plain[body:at])

    def _in_time_order(self, keys: Collection[int]) -> Iterator[_Message]:
        """Merge the chunks, each opened when its first message is due."""
        waiting = sorted(self._chunks, key=lambda chunk: (chunk.start_ns, chunk.offset))
        waiting.reverse()
        heap: list[_Message] = []
        open_bytes = 0
        while waiting or heap:
            due = waiting and (not heap or waiting[-1].start_ns <= heap[0][0])
            if due and (not heap or open_bytes < _MOST_OPEN_BYTES):
                for message in self._inflate(waiting.pop(), keys):
                    heapq.heappush(heap, message)
                    open_bytes += len(message[3])
            if heap:
                message = heapq.heappop(heap)
                open_bytes -= len(message[3])
                yield message

    def _in_file_order(self, keys: Collection[int]) -> Iterator[_Message]:
        for opcode, offset, length in self._records(len(MAGIC), self._end):
            if opcode in (_DATA_END, _FOOTER):
                return
            if opcode == _CHUNK:
                yield from self._inflate(_Chunk(0, 0, offset - 9, length + 9), keys)
            elif opcode == _MESSAGE and length >= 22:
                body = self._body(offset, length)
                key, _, time_ns = struct.unpack('<HIQ', body[:14])
                if key in keys:
                    self._number += 1
                    yield time_ns, self._number, key, body[22:]


def _string(body: bytes, at: int) -> tuple[str, int]:
    """A length-prefixed string and the offset behind it."""
    (length,) = struct.unpack('<I', body[at : at + 4])
    end = at + 4 + length
    if end > len(body):
        raise ValueError('a string ends behind its record')
    return body[at + 4 : end].decode(errors='replace'), end
