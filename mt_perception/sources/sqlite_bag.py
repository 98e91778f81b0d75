# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of the SQLite files of rosbag2, of every version from Dashing on."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote

from mt_perception.errors import BagError
from mt_perception.sources.bag_file import BagFile, Channel

MAGIC = b'SQLite format 3\0'


class SqliteFile(BagFile):
    """One ``.db3`` file.

    Args:
        path: The file. A write-ahead log beside it, which a recorder leaves that was killed, is
            read as well where the folder can be written.

    Raises:
        BagError: It is no bag.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._database = _open(path)
        try:
            definitions = self._definitions()
            rows = self._database.execute(
                'SELECT id, name, type, serialization_format FROM topics ORDER BY id'
            ).fetchall()
            counts = dict(
                self._database.execute('SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id')
            )
            for key, topic, msgtype, encoding in rows:
                kind, text = definitions.get(msgtype, ('', ''))
                self.channels[key] = Channel(
                    str(topic), str(msgtype), str(encoding), text, kind, counts.get(key, 0)
                )
            times = self._database.execute('SELECT MIN(timestamp), MAX(timestamp) FROM messages')
            self.start_ns, self.end_ns = (int(t or 0) for t in times.fetchone())
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            self._database.close()
            raise BagError(f'{path.name} has no topics and messages of a bag: {error}') from error

    def messages(self, keys: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (channel key, receive time in ns, data) in the order of receive times."""
        query = (
            'SELECT topic_id, timestamp, data FROM messages '
            'WHERE topic_id IN (SELECT value FROM json_each(?)) ORDER BY timestamp'
        )
        try:
            for key, time_ns, data in self._database.execute(query, (json.dumps(list(keys)),)):
                if not isinstance(data, bytes) or not isinstance(time_ns, int):
                    self.damage['damaged_record'] += 1
                    continue
                yield key, time_ns, data
        except (sqlite3.Error, OverflowError):
            self.damage['cut_file'] += 1

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._database.close()

    def _definitions(self) -> dict[str, tuple[str, str]]:
        """Message type → format and text of its definition; empty before ROS 2 Iron."""
        try:
            rows = self._database.execute(
                'SELECT topic_type, encoding, encoded_message_definition FROM message_definitions'
            ).fetchall()
        except sqlite3.Error:
            return {}
        return {str(name): (str(kind), str(text)) for name, kind, text in rows}


def _open(path: Path) -> sqlite3.Connection:
    # '#', '?' and '%' have a meaning in a URI.
    name = quote(str(path.absolute()))
    log = path.with_name(path.name + '-wal')
    modes = ['immutable=1']
    if log.is_file() and log.stat().st_size:
        modes.insert(0, 'mode=ro')
    for mode in modes:
        try:
            database = sqlite3.connect(f'file:{name}?{mode}', uri=True, check_same_thread=False)
            database.text_factory = lambda raw: raw.decode(errors='replace')
            database.execute('SELECT COUNT(*) FROM topics')
            return database
        except sqlite3.Error as error:
            fault = error
    raise BagError(f'{path.name} cannot be opened as an SQLite bag: {fault}')
