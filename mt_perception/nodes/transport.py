# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fast DDS with shared memory large enough for images, unless the user configured it himself."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

from mt_perception.share import share_folder

# Fast DDS 2 (Humble, Jazzy) reads the second name, Fast DDS 3 (Kilted) the first.
VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')


def profile_file() -> Path:
    """The Fast DDS profile that we ship."""
    return share_folder() / 'config' / 'fastdds_shm.xml'


def use_shared_memory(environment: MutableMapping[str, str]) -> bool:
    """Let Fast DDS use our profile; call it before a node is made.

    Args:
        environment: The variables of this process, or of one to be started; is changed.

    Returns:
        Whether our profile is used; False where the user has one of his own.
    """
    profile = str(profile_file())
    if any(environment.get(name, profile) != profile for name in VARIABLES):
        return False
    environment.update(dict.fromkeys(VARIABLES, profile))
    return True
