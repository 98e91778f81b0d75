# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The folder of one evaluation: records appear in it when they are complete, and never half."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from mt_perception.errors import OutputError
from mt_perception.evaluation.records import (
    FRAMES_FILE,
    SUMMARY_FILE,
    FrameRecord,
    Summary,
    frame_line,
    summary_text,
)

_PARTIAL = '.partial'


class RecordWriter:
    """Writes ``frames.jsonl`` and then ``summary.json``; use it in ``with``.

    Until ``finish`` the lines stand in a file that ends in ``.partial``, and an older summary is
    gone: a folder with a summary is a finished evaluation.

    Args:
        folder: Where to; made if it is missing.

    Raises:
        OutputError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._partial = folder / (FRAMES_FILE + _PARTIAL)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SUMMARY_FILE).unlink(missing_ok=True)
            self._file = self._partial.open('w', encoding='utf-8', newline='\n')

    def add(self, record: FrameRecord) -> None:
        """Write one line.

        Raises:
            OutputError: The disk is full, say.
        """
        with writing(self._folder):
            self._file.write(frame_line(record) + '\n')

    def finish(self, summary: Summary) -> None:
        """Put both files in place.

        Raises:
            OutputError: The disk is full, say.
        """
        with writing(self._folder):
            self._file.close()
            os.replace(self._partial, self._folder / FRAMES_FILE)
            write_text(self._folder / SUMMARY_FILE, summary_text(summary))

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError as error:
            # On a full disk closing fails as well; what was raised first says more.
            if value is None:
                raise OutputError(f'cannot write to {self._folder}: {error.strerror}') from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    with writing(path):
        partial = path.with_name(path.name + _PARTIAL)
        partial.write_text(text, encoding='utf-8', newline='\n')
        os.replace(partial, path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one sentence why a place cannot be written.

    Raises:
        OutputError: Instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f'cannot write to {path}: {error.strerror or error}; '
            'choose another folder with --out, or make room'
        ) from error
