# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Output folders and files: a command replaces or removes only what a command wrote before.

Each output folder has a marker file that lists what was written. A folder without one is used
only if it is new, empty, or holds nothing but such folders.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mt_perception.data_files import parse_json, replace_text
from mt_perception.errors import OutputError

MARKER = '.mt_perception_output'

_HEADER = '# Files of this folder that mt_perception wrote and may replace.\n'
_DEPTH = 4


class OutputFolder:
    """A folder that a command writes into.

    Creating this object checks the folder and writes nothing.

    Args:
        path: The folder; made by the first ``file``.
        sources: Inputs of the command, as typed; those that are no path are ignored.

    Raises:
        OutputError: The folder is an input or holds one, is a file, or has files that no command
            wrote.
    """

    def __init__(self, path: Path, sources: Iterable[str | Path] = ()) -> None:
        self.path = path
        check_sources(path, sources)
        with writing(path):
            if path.exists() and not path.is_dir():
                raise OutputError(f'{path} is a file; expected a folder')
            foreign = _foreign_entry(path, _DEPTH)
        if foreign is not None:
            raise OutputError(
                f'{path} has files that mt_perception did not write, for example {foreign}; '
                'choose another output folder'
            )

    def file(self, name: str) -> Path:
        """The path of a file to write; makes the output folder and lists the name.

        Raises:
            OutputError: Something of this name exists that no command wrote or that was changed
                since, or the folder cannot be written.
        """
        path = self.path / name
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path) and not self._is_own(name):
                listed = name in self._entries() and not path.is_dir()
                raise OutputError(_changed(path) if listed else _foreign(path))
            self._append(name, None)
        return path

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other commands from writing into the folder during the block; makes the folder.

        Raises:
            OutputError: Another command writes into it, or the folder cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            # Unbuffered: on a full disk closing it would fail once more.
            marker = (self.path / MARKER).open('ab', buffering=0)
        with marker:
            lock(marker.fileno(), self.path)
            with writing(self.path):
                if not marker.tell():
                    marker.write(_HEADER.encode())
            yield

    @contextmanager
    def claimed(self) -> Iterator[Path]:
        """Make the folder, and list all files that are new or changed when the block ends.

        For commands whose files are written by functions that take a folder.

        Raises:
            OutputError: The folder cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            before = {entry.name: _state(entry) for entry in self.path.iterdir()}
            if not (self.path / MARKER).exists():
                (self.path / MARKER).write_text(_HEADER, encoding='utf-8')
        try:
            yield self.path
        finally:
            with writing(self.path):
                for entry in sorted(self.path.iterdir()):
                    state = _state(entry)
                    if (
                        entry.is_file()
                        and entry.name != MARKER
                        and before.get(entry.name) != state
                    ):
                        self._append(entry.name, state)

    def finish(self) -> None:
        """Record size and time of the written files, so that changes by others are noticed.

        Raises:
            OutputError: The marker cannot be written.
        """
        with writing(self.path):
            for name, state in self._entries().items():
                found = _state(self.path / name)
                if found is not None and found != state:
                    self._append(name, found)

    def remove_earlier(self, names: Sequence[str] = ()) -> None:
        """Remove the files that an earlier command wrote.

        Args:
            names: Patterns of the names that will be written; without, every file is removed.

        Raises:
            OutputError: A file was changed since, another command wrote files, or a file of
                another program has a name that will be written; no file is removed. Or a file
                cannot be removed.
        """
        with writing(self.path):
            entries = self._entries()
            there = sorted(self.path.iterdir()) if self.path.is_dir() else []
            wanted = re.compile('|'.join(names) or '$^')
            for entry in there:
                if entry.name not in entries and wanted.fullmatch(entry.name):
                    raise OutputError(_foreign(entry))
            for name in filter(lambda name: os.path.lexists(self.path / name), entries):
                if names and not wanted.fullmatch(name):
                    raise OutputError(
                        f'{self.path} holds results of another command, for example {name}; '
                        'choose another output folder'
                    )
                if not self._is_own(name):
                    raise OutputError(_changed(self.path / name))
            for name in entries:
                (self.path / name).unlink(missing_ok=True)
            if entries:
                (self.path / MARKER).write_text(_HEADER, encoding='utf-8')

    def _is_own(self, name: str) -> bool:
        """Whether the marker lists a file, and the file is as it was written."""
        entries = self._entries()
        if name not in entries or (self.path / name).is_dir():
            return False
        return entries[name] is None or entries[name] == _state(self.path / name)

    def _entries(self) -> dict[str, list[int] | None]:
        """Name → [size, time in ns] of files, None while they are being written."""
        try:
            lines = (
                (self.path / MARKER).read_text(encoding='utf-8', errors='replace').splitlines()[1:]
            )
        except (FileNotFoundError, NotADirectoryError):
            return {}
        entries: dict[str, list[int] | None] = {}
        for line in lines:
            try:
                name, state = parse_json(line, str(self.path / MARKER), OutputError)
            except (OutputError, TypeError, ValueError):
                # The line of a process that was killed while it wrote.
                continue
            # The marker is a file that anybody may change: a name must not lead elsewhere.
            if isinstance(name, str) and name not in ('', '.', '..') and '/' not in name:
                entries[name] = state
        return entries

    def _append(self, name: str, state: list[int] | None) -> None:
        marker = self.path / MARKER
        # On a full disk it was made without its header.
        header = '' if marker.exists() and marker.stat().st_size else _HEADER
        with marker.open('a', encoding='utf-8') as file:
            file.write(header + json.dumps([name, state]) + '\n')


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    with writing(path):
        replace_text(path, text)


def check_new_text(path: Path, is_own: Callable[[str], bool]) -> None:
    """Check that a file that the user named is new or our own, and make its folder.

    Args:
        path: The file.
        is_own: Whether the text of an existing file was written by this command.

    Raises:
        OutputError: The file exists and is not our own, or its folder cannot be made.
    """
    with writing(path):
        if path.exists():
            try:
                own = path.is_file() and is_own(path.read_text(encoding='utf-8'))
            except UnicodeDecodeError:
                own = False
            if not own:
                raise OutputError(
                    f'{path} exists and mt_perception did not write it; choose another name'
                )
        path.parent.mkdir(parents=True, exist_ok=True)


def write_new_text(path: Path, text: str, is_own: Callable[[str], bool]) -> None:
    """Write a file that the user named; an existing file is replaced only if it is our own.

    Args:
        path: The file.
        text: Its text.
        is_own: As for ``check_new_text``.

    Raises:
        OutputError: The file exists and is not our own, or cannot be written.
    """
    check_new_text(path, is_own)
    write_text(path, text)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn every OSError into one sentence that names the place.

    Raises:
        OutputError: Instead of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f'cannot write to {path}: {error.strerror or error}; '
            'choose another place, or free some space'
        ) from error


def check_sources(path: Path, sources: Iterable[str | Path]) -> None:
    """Refuse an output folder that is an input or a parent of one.

    Raises:
        OutputError: It is one; the message names the input.
    """
    with writing(path):
        # The current folder may have been removed.
        folder = Path(os.path.realpath(os.path.expanduser(path)))
    for source in sources:
        try:
            place = Path(os.path.expanduser(source))
            found = {place.resolve(), Path(os.path.abspath(place))} if place.exists() else set()
        except (OSError, RuntimeError, ValueError):
            continue
        if any(folder == each or folder in each.parents for each in found):
            raise OutputError(
                f'the output folder {path} is or holds the source {source}; '
                'choose another output folder'
            )


def _foreign(path: Path) -> str:
    return (
        f'{path} exists and mt_perception did not write it; move it, or choose another output '
        'folder'
    )


def lock(file: int, folder: Path) -> None:
    """Lock an open file or folder until it is closed.

    Args:
        file: Its descriptor.
        folder: The folder that the lock protects.

    Raises:
        OutputError: Another command has the lock.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OutputError(
            f'another command is writing to {folder}; wait until it ends, or choose another '
            'output folder'
        ) from error
    except OSError:
        # Some network file systems have no locks.
        pass


def _changed(path: Path) -> str:
    return (
        f'{path} was changed since mt_perception wrote it; move it, or choose another output '
        'folder'
    )


def _foreign_entry(folder: Path, depth: int) -> str | None:
    """The name of an entry that no command wrote; None if there is none, or a marker."""
    if not folder.is_dir() or (folder / MARKER).is_file():
        return None
    for entry in sorted(folder.iterdir()):
        own = entry.is_dir() and not entry.is_symlink() and depth > 0
        if not own or not any(entry.iterdir()) or _foreign_entry(entry, depth - 1) is not None:
            return entry.name
    return None


def _state(path: Path) -> list[int] | None:
    """Size and time of a file; None if there is none."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]
