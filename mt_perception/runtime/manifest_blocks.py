# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Blocks in a manifest: what each one reads, makes and costs, and where its graph lies."""

from __future__ import annotations

from collections.abc import Mapping

from mt_perception.errors import ModelError
from mt_perception.graph.block import Block
from mt_perception.runtime.block_file import BlockFile, take_file
from mt_perception.runtime.fields import Fields, is_name, names, strings


def read_blocks(
    data: Mapping[object, object], where: str = 'manifest.blocks'
) -> tuple[list[Block], dict[str, BlockFile]]:
    """Read blocks and their files by name.

    Raises:
        ModelError: A field is missing, unknown or out of range.
    """
    blocks: list[Block] = []
    files: dict[str, BlockFile] = {}
    for name, value in data.items():
        place = f'{where}.{name}'
        if not isinstance(name, str) or not is_name(name):
            raise ModelError(f'{place}: a block name has letters, digits, "_", "." and "-"')
        fields = Fields(value, place)
        files[name] = take_file(fields, place)
        blocks.append(
            Block(
                name=name,
                inputs=strings(fields.take('inputs', dict), f'{place}.inputs'),
                outputs=names(fields.take('outputs', list, bool), f'{place}.outputs'),
                macs=fields.take('macs', int, lambda v: v >= 0),
                parameters=fields.take('parameters', int, lambda v: v >= 0),
                skippable=fields.take('skippable', bool),
            )
        )
        fields.finish()
    return blocks, files
