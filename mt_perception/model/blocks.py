# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks in a manifest: inputs, outputs, cost, and the ONNX file with its checksum."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TypedDict

from mt_perception.errors import ModelError
from mt_perception.model.fields import Fields, all_of, is_name, names, strings
from mt_perception.model.task_graph import Block


@dataclass(frozen=True)
class BlockFile:
    """The path of a block's ONNX graph in the folder, and its sha256 in lower-case hex."""

    path: PurePosixPath
    sha256: str


class Costs(TypedDict):
    """The cost fields of a block; see ``Block``."""

    macs: int
    parameters: int


def take_file(fields: Fields, where: str) -> BlockFile:
    """Read the fields ``file`` and ``sha256``.

    Raises:
        ModelError: A field is missing, the path leaves the folder, or the checksum is not one.
    """
    path = PurePosixPath(fields.take('file', str))
    if path.is_absolute() or '..' in path.parts or '\\' in str(path) or not path.name:
        raise ModelError(f'{where}.file {str(path)!r} leaves the model folder; refused')
    sha256: str = fields.take('sha256', str, lambda v: re.fullmatch('[0-9a-f]{64}', v) is not None)
    return BlockFile(path, sha256)


def take_costs(fields: Fields) -> Costs:
    """Read the fields ``macs`` and ``parameters``.

    Raises:
        ModelError: A field is missing or negative.
    """
    return {
        'macs': fields.take('macs', int, lambda v: v >= 0),
        'parameters': fields.take('parameters', int, lambda v: v >= 0),
    }


def read_blocks(
    data: Mapping[object, object], where: str = 'manifest.blocks'
) -> tuple[list[Block], dict[str, BlockFile]]:
    """Read blocks, and their files by block name.

    Raises:
        ModelError: A field is missing, unknown or out of range.
    """
    found = all_of(partial(_read_block, *item, where) for item in data.items())
    return [block for block, _ in found], {block.name: file for block, file in found}


def _read_block(name: object, value: object, where: str) -> tuple[Block, BlockFile]:
    place = f'{where}.{name}'
    if not isinstance(name, str) or not is_name(name):
        raise ModelError(f'{place}: a block name has letters, digits, "_", "." and "-"')
    fields = Fields(value, place)
    file = take_file(fields, place)
    block = Block(
        name=name,
        inputs=strings(fields.take('inputs', dict), f'{place}.inputs'),
        outputs=names(fields.take('outputs', list, bool), f'{place}.outputs'),
        **take_costs(fields),
        skippable=fields.take('skippable', bool),
    )
    fields.finish()
    return block, file
