# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where a graph lies inside a model folder, and what it must be, byte by byte."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from mt_perception.errors import ModelError
from mt_perception.runtime.fields import Fields


@dataclass(frozen=True)
class BlockFile:
    """Where a block's ONNX graph lies inside the folder, and its sha256 in lower-case hex."""

    path: PurePosixPath
    sha256: str


def take_file(fields: Fields, where: str) -> BlockFile:
    """Take the fields ``file`` and ``sha256``.

    Raises:
        ModelError: One is missing, the path leaves the folder, or the sum is no sha256.
    """
    path = PurePosixPath(fields.take('file', str))
    if path.is_absolute() or '..' in path.parts or '\\' in str(path) or not path.name:
        raise ModelError(f'{where}.file {str(path)!r} leaves the model folder; refused')
    sha256: str = fields.take('sha256', str, lambda v: re.fullmatch('[0-9a-f]{64}', v) is not None)
    return BlockFile(path, sha256)
