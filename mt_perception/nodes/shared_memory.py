# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Shared memory of Fast DDS: our profile, and the removal of segments that a crash has left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import MutableMapping
from pathlib import Path

from mt_perception.resources import share_folder

# Fast DDS 2 (Humble, Jazzy) reads the second name, Fast DDS 3 (Kilted) the first.
VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')

SEGMENTS = Path('/dev', 'shm')
_LOCK_SUFFIX = '_el'
_MINIMUM_AGE_S = 10.0
"""Younger locks are skipped: their process may not have locked them yet."""


def profile_file() -> Path:
    """The Fast DDS profile of this package."""
    return share_folder() / 'config' / 'fastdds_shm.xml'


def use_shared_memory(environment: MutableMapping[str, str]) -> bool:
    """Select our Fast DDS profile; has an effect on nodes that are created afterwards.

    Args:
        environment: Variables of this process, or of one to be started; is changed.

    Returns:
        Whether our profile is selected; False if the user has selected another.
    """
    profile = str(profile_file())
    if any(environment.get(name, profile) != profile for name in VARIABLES):
        return False
    environment.update(dict.fromkeys(VARIABLES, profile))
    return True


def remove_stale_segments(folder: Path = SEGMENTS) -> int:
    """Remove this user's Fast DDS segments whose process no longer exists, as after SIGKILL.

    As in ``fastdds shm clean``: a process holds an exclusive lock on a file beside its segment,
    and the kernel releases it when the process ends.

    Returns:
        Bytes that were freed.
    """
    freed = 0
    for prefix in ('fastrtps_', 'fastdds_'):
        for lock in folder.glob(f'{prefix}[0-9a-f]*{_LOCK_SUFFIX}'):
            with contextlib.suppress(OSError):
                freed += _remove_if_stale(lock)
    return freed


def _remove_if_stale(lock: Path) -> int:
    found = lock.stat()
    if found.st_uid != os.getuid() or time.time() - found.st_mtime < _MINIMUM_AGE_S:
        return 0
    segment = lock.with_name(lock.name.removesuffix(_LOCK_SUFFIX))
    with lock.open('rb') as file:
        # Raises BlockingIOError while the owner lives.
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = segment.stat().st_size if segment.is_file() else 0
        segment.unlink(missing_ok=True)
        lock.unlink()
    return size
