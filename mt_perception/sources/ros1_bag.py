# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of ROS 1 bags (format 2.0)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from rosbags.rosbag1 import Reader, ReaderError
from rosbags.rosbag1.reader import Chunk, Header, RecordType, read_uint32

from mt_perception.errors import BagError
from mt_perception.sources.bag_file import ROS1, BagFile, Channel
from mt_perception.sources.inflate import inflate

MAGIC = b'#ROSBAG V2.0\n'


class Ros1File(BagFile):
    """One ``.bag`` file.

    Args:
        path: The file.

    Raises:
        BagError: Its index is missing, as after a recorder that was killed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._reader = _BoundedReader(path)
        try:
            self._reader.open()
        except ReaderError as error:
            if 'index' not in str(error):
                raise
            raise BagError(
                f'{path.name} has no index, because its recorder did not end it; '
                f'"rosbag reindex {path.name}" makes it'
            ) from error
        self._connections = {c.id: c for c in self._reader.connections}
        for key, c in self._connections.items():
            self.channels[key] = Channel(
                c.topic, c.msgtype, ROS1, c.msgdef.data, 'ros1msg', c.msgcount
            )
        if self._reader.chunk_infos:
            self.start_ns, self.end_ns = self._reader.start_time, self._reader.end_time - 1

    def messages(self, keys: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (channel key, receive time in ns, data) in the order of receive times."""
        wanted = [self._connections[key] for key in keys]
        try:
            for connection, time_ns, data in self._reader.messages(wanted):
                yield connection.id, time_ns, data
        except (GeneratorExit, BagError):
            raise
        except Exception:
            # rosbags' reader expects sound files: it raises assertion, struct and key errors.
            self.damage['cut_file'] += 1

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._reader.bio is not None:
            self._reader.close()


class _BoundedReader(Reader):
    """rosbags' reader, with limits on what a chunk inflates to."""

    def read_chunk(self) -> Chunk:
        """Read a chunk's header from the current position."""
        assert self.bio
        header = Header.read(self.bio, RecordType.CHUNK)
        compression = header.get_string('compression')
        size = read_uint32(self.bio)
        position = self.bio.tell()
        self.bio.seek(size, os.SEEK_CUR)
        return Chunk(size, position, partial(inflate, compression=compression))
