# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the records of an evaluation or a run as JSON lines, and the summary."""

from __future__ import annotations

import os
from pathlib import Path

from mt_perception.errors import OutputError
from mt_perception.evaluation.output import OutputFolder, write_text, writing
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
    """Writes ``frames.jsonl`` and, for evaluations, ``summary.json``; use it in ``with``.

    Until ``finish`` the lines are in a file that ends in ``.partial``, and a summary of an earlier
    evaluation is removed: a folder with a summary is a completed evaluation.

    Args:
        folder: The output folder; made if it is missing.

    Raises:
        OutputError: The folder cannot be written, or has files that no command wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._output = OutputFolder(folder)
        self._summary = self._output.file(SUMMARY_FILE)
        self._frames = self._output.file(FRAMES_FILE)
        self._partial = self._output.file(FRAMES_FILE + _PARTIAL)
        with writing(folder):
            self._summary.unlink(missing_ok=True)
            self._file = self._partial.open('w', encoding='utf-8', newline='\n')

    def add(self, record: FrameRecord) -> None:
        """Write one line.

        Raises:
            OutputError: It cannot be written, for example on a full disk.
        """
        with writing(self._partial):
            self._file.write(frame_line(record) + '\n')

    def finish(self, summary: Summary | None = None) -> None:
        """Put the files in place.

        Args:
            summary: The summary of an evaluation; a run has none.

        Raises:
            OutputError: They cannot be written, for example on a full disk.
        """
        with writing(self._frames):
            self._file.flush()
            # Some file systems report a full disk only here.
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._partial, self._frames)
        if summary is not None:
            write_text(self._summary, summary_text(summary))
        self._output.finish()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            # On a full disk closing fails too; the first error says more.
            if kind is None:
                raise OutputError(f'cannot write to {self._partial}: {error.strerror}') from error
