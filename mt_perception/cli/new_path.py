# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The type of options that name something to write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class NewPath(click.Path):
    """The path of a file or folder to write.

    ``~`` is the user's folder: shells leave it as it is in ``--out=~/results``, and a folder of
    that name is dangerous to remove.

    Args:
        kinds: ``file_okay`` and ``dir_okay`` of click.
    """

    def __init__(self, **kinds: bool) -> None:
        super().__init__(path_type=Path, **kinds)

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> Any:
        """Convert and check a path."""
        return super().convert(os.path.expanduser(value), param, context)
