# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A recording in one or several files of any ROS format, as one stream of messages."""

from __future__ import annotations

import heapq
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

from mt_perception.errors import BagError
from mt_perception.sources import mcap, ros1_bag, sqlite_bag
from mt_perception.sources.bag_file import CDR, ROS1, BagFile, Channel
from mt_perception.sources.frame_source import natural_key
from mt_perception.sources.inflate import inflate, inflate_file
from mt_perception.sources.mcap import McapFile
from mt_perception.sources.message_types import MessageDecoder
from mt_perception.sources.ros1_bag import Ros1File
from mt_perception.sources.sqlite_bag import SqliteFile

PACKED_SUFFIXES = frozenset({'.zstd', '.zst'})
BAG_SUFFIXES = frozenset({'.bag', '.db3', '.mcap', '.active'})

_FORMATS: tuple[tuple[bytes, Callable[[Path], BagFile]], ...] = (
    (mcap.MAGIC, McapFile),
    (sqlite_bag.MAGIC, SqliteFile),
    (ros1_bag.MAGIC, Ros1File),
)
_ZSTD = b'\x28\xb5\x2f\xfd'
_METADATA = 'metadata.yaml'
_MOST_METADATA_BYTES = 16 << 20


class BagReader:
    """A recording: one file, or a folder with the parts of one recording.

    The format is read from the files, not from their names or from ``metadata.yaml``, which
    reindexing leaves incomplete.

    Args:
        path: A ``.bag``, ``.db3`` or ``.mcap`` file, or a folder of them.

    Attributes:
        channels: What can be decoded, without duplicates.
        foreign: Channels in other encodings (JSON, protobuf).
        notes: Sentences for the user.

    Raises:
        BagError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._decoder = MessageDecoder()
        self._bad_messages: Counter[str] = Counter()
        self._stack = ExitStack()
        try:
            with bag_errors(path):
                self._files = self._open_files()
                self._check_one_recording()
        except BaseException:
            self.close()
            raise
        every = _merged(self._files)
        self.channels = [c for c in every if c.encoding in (CDR, ROS1)]
        self.foreign = [c for c in every if c.encoding not in (CDR, ROS1)]

    @property
    def damage(self) -> Counter[str]:
        """Kind of damage → number of places that were skipped so far."""
        return sum((file.damage for file in self._files), Counter(self._bad_messages))

    def data(self, channels: Collection[Channel]) -> Iterator[tuple[Channel, int, bytes]]:
        """Yield (channel, receive time in ns, undecoded message) in the order of receive times."""
        with bag_errors(self.path):
            if all(a.end_ns <= b.start_ns for a, b in pairwise(self._files)):
                for file in self._files:
                    yield from _of_file(file, channels)
            else:
                streams = [_of_file(file, channels) for file in self._files]
                yield from heapq.merge(*streams, key=lambda found: found[1])

    def messages(self, channels: Collection[Channel]) -> Iterator[tuple[Channel, Any]]:
        """Yield (channel, message); a message that is damaged is skipped and counted.

        Raises:
            BagError: A type has no definition, or the recording became unreadable.
        """
        for channel, _, data in self.data(channels):
            message = self.decode(channel, data)
            if message is not None:
                yield channel, message

    def decode(self, channel: Channel, data: bytes) -> Any | None:
        """The message; None, and a count, if its data is damaged."""
        message = self._decoder.decode(channel, data)
        if message is None:
            self._bad_messages['damaged_message'] += 1
        return message

    def close(self) -> None:
        """Close the files; may be called twice."""
        self._stack.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_files(self) -> list[BagFile]:
        if not self.path.is_dir():
            return [self._open_file(self.path)]
        paths = self._parts()
        if not paths:
            raise BagError('the folder has no .mcap, .db3 or .bag file')
        files, faults = [], []
        for path in paths:
            try:
                files.append(self._open_file(path))
            except (BagError, OSError) as error:
                faults.append(f'{path.name} is not read: {error}')
        if not files:
            raise BagError('; '.join(faults[:3]))
        self.notes += faults
        return sorted(files, key=lambda file: file.start_ns)

    def _parts(self) -> list[Path]:
        """The files of a folder, in the order of their numbers; those of metadata.yaml if any."""
        there = {p.name: p for p in self.path.iterdir() if is_bag_file(p)}
        listed = _listed_files(self.path / _METADATA)
        missing = [name for name in listed if name not in there]
        found = [there[name] for name in listed if name in there]
        if found:
            self.notes += [f'{name}, a part of {self.path}, is missing' for name in missing]
            return found
        return sorted(there.values(), key=natural_key)

    def _open_file(self, path: Path) -> BagFile:
        if path.suffix.lower() in PACKED_SUFFIXES:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory())
            plain = Path(folder) / path.stem
            inflate_file(path, plain)
            path = plain
        with path.open('rb') as file:
            begin = file.read(16)
        for magic, open_format in _FORMATS:
            if begin.startswith(magic):
                opened = open_format(path)
                self._stack.callback(opened.close)
                return opened
        if not begin:
            raise BagError(f'{path.name} is empty')
        raise BagError(f'{path.name} is no bag; it begins with {begin[:8].hex(" ")}')

    def _check_one_recording(self) -> None:
        """Refuse a folder of several recordings, which would be mixed."""
        if not self.path.is_dir() or (self.path / _METADATA).is_file():
            return
        names = {re.sub(r'\d+', '#', p.name.lower()) for p in self._parts()}
        overlap = any(
            a.end_ns > b.start_ns and set(a.channels.values()) & set(b.channels.values())
            for a, b in pairwise(self._files)
        )
        if len(names) > 1 or (overlap and len(self._files) > 1):
            several = ', '.join(p.name for p in self._parts()[:5])
            raise BagError(f'the folder holds several recordings: {several}; name one of them')


def is_bag_file(path: Path) -> bool:
    """Whether a file is named as a part of a recording."""
    suffix = path.suffix.lower()
    if suffix in PACKED_SUFFIXES:
        suffix = PurePath(path.stem).suffix.lower()
    return suffix in BAG_SUFFIXES and path.is_file()


@contextmanager
def bag_errors(path: Path) -> Iterator[None]:
    """Turn what a damaged bag makes a reader raise into one sentence.

    The formats' readers are written for sound files: on a truncated or foreign one they raise
    assertion, struct, SQLite, Unicode and index errors beside their own.
    """
    try:
        yield
    except (GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:
        if isinstance(error, BagError) and str(path) in str(error):
            raise
        what = str(error) or type(error).__name__
        raise BagError(
            f'bag {path} cannot be read ({what}); expected a ROS 1 .bag, a rosbag2 folder, or one '
            '.mcap or .db3 file, recorded to its end'
        ) from error


def _listed_files(metadata: Path) -> list[str]:
    """The names under ``relative_file_paths``; none where the file is missing or foreign.

    A parser of YAML is not needed for a list of names, and metadata.yaml may be anything.
    """
    try:
        if metadata.stat().st_size > _MOST_METADATA_BYTES:
            return []
        lines = iter(metadata.read_text(encoding='utf-8', errors='replace').splitlines())
    except OSError:
        return []
    names = []
    for line in lines:
        if line.strip() == 'relative_file_paths:':
            for entry in lines:
                if not entry.strip().startswith('- '):
                    break
                names.append(PurePath(entry.strip()[2:].strip().strip('"\'')).name)
            break
    return names


def _merged(files: Sequence[BagFile]) -> list[Channel]:
    """The channels of all files, each topic and type once, with their counts added."""
    found: dict[tuple[str, str, str], Channel] = {}
    for file in files:
        for channel in file.channels.values():
            known = found.get(_identity(channel))
            if known is None:
                found[_identity(channel)] = channel
            else:
                first = known if known.definition else channel
                found[_identity(channel)] = replace(first, count=known.count + channel.count)
    return list(found.values())


def _identity(channel: Channel) -> tuple[str, str, str]:
    return channel.topic, channel.msgtype, channel.encoding


def _of_file(file: BagFile, channels: Collection[Channel]) -> Iterator[tuple[Channel, int, bytes]]:
    wanted = {_identity(channel): channel for channel in channels}
    keys = {
        key: wanted[_identity(channel)]
        for key, channel in file.channels.items()
        if _identity(channel) in wanted
    }
    if keys:
        for key, time_ns, data in file.messages(keys):
            # rosbag2's compression by message leaves no other mark in the file.
            plain = inflate(data, 'zstd') if data[:4] == _ZSTD else data
            yield keys[key], time_ns, plain
