# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reader of the SQLite files of rosbag2, of every version from Dashing on."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mt_perception.errors import BagError
from mt_perception.sources.bag_file import BagFile, Channel

MAGIC = b'SQLite format 3\0'

_ROW = 'SELECT topic_id, timestamp, data FROM messages WHERE id = ?'
_ROW_TIMES = 'SELECT topic_id, timestamp FROM messages WHERE id = ?'

# Of a message with a header; numbers beyond the last one cost a lookup each.
_LEAST_ROW_BYTES = 64


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
        self._most_rows = path.stat().st_size // _LEAST_ROW_BYTES
        try:
            definitions = self._definitions()
            rows = self._database.execute(
                'SELECT id, name, type, serialization_format FROM topics ORDER BY id'
            ).fetchall()
            counts, self.start_ns, self.end_ns = self._count()
            for key, topic, msgtype, encoding in rows:
                kind, text = definitions.get(msgtype, ('', ''))
                self.channels[key] = Channel(
                    str(topic), str(msgtype), str(encoding), text, kind, counts.get(key, 0)
                )
        except (sqlite3.Error, ValueError, TypeError, OverflowError) as error:
            self._database.close()
            raise BagError(
                f'{path.name} has no topics and messages of a bag ({error}); '
                f'"sqlite3 {path.name} .recover" may save more'
            ) from error

    def messages(self, keys: Collection[int]) -> Iterator[tuple[int, int, bytes]]:
        """Yield (channel key, receive time in ns, data) in the order of receive times.

        From a damaged page on, messages come in the order of their numbers.
        """
        query = (
            'SELECT id, topic_id, timestamp, data FROM messages '
            'WHERE topic_id IN (SELECT value FROM json_each(?)) ORDER BY timestamp'
        )
        read: set[int] = set()
        rows = self._database.execute(query, (json.dumps(list(keys)),))
        while True:
            try:
                row = rows.fetchone()
            except (sqlite3.Error, OverflowError):
                self.damage['cut_file'] += 1
                break
            if row is None:
                return
            read.add(row[0])
            yield from self._sound(row[1:])
        for row in self._one_by_one(_ROW, read):
            if row[0] in keys:
                yield from self._sound(row)

    def _sound(self, row: tuple[Any, ...]) -> Iterator[tuple[int, int, bytes]]:
        """The row, if its values are of the right types; else a count."""
        key, time_ns, data = row
        if isinstance(data, bytes) and isinstance(time_ns, int):
            yield key, time_ns, data
        else:
            self.damage['damaged_record'] += 1

    def _count(self) -> tuple[Counter[int], int, int]:
        """Messages of each topic, and the first and last receive time."""
        try:
            counts = Counter(
                dict(
                    self._database.execute(
                        'SELECT topic_id, COUNT(*) FROM messages GROUP BY topic_id'
                    )
                )
            )
            times = self._database.execute('SELECT MIN(timestamp), MAX(timestamp) FROM messages')
            first, last = times.fetchone()
        except sqlite3.DatabaseError:
            rows = list(self._one_by_one(_ROW_TIMES, set()))
            counts = Counter(key for key, _ in rows)
            stamps = [time_ns for _, time_ns in rows if isinstance(time_ns, int)]
            first, last = min(stamps, default=0), max(stamps, default=0)
            # What is damaged is counted when it is read.
            self.damage.clear()
        return counts, int(first or 0), int(last or 0)

    def _one_by_one(self, query: str, read: Collection[int]) -> Iterator[tuple[Any, ...]]:
        """Rows by their numbers, without those on damaged pages and those already read."""
        for number in range(1, self._most_rows):
            if number in read:
                continue
            try:
                row = self._database.execute(query, (number,)).fetchone()
            except (sqlite3.Error, OverflowError):
                self.damage['damaged_record'] += 1
                continue
            if row is not None:
                yield row

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
