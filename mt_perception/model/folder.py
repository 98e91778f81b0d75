# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The model folder on disk: every byte is checked before anything interprets it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mt_perception.errors import ModelError
from mt_perception.model.blocks import BlockFile
from mt_perception.model.manifest import MAX_BYTES, Manifest, parse_manifest

MANIFEST = 'manifest.yaml'
MAX_BLOCK_BYTES = 1 << 31
"""What one protobuf, and so one ONNX file, can hold."""

# The key under which a tensor names a file (or a memory address) that holds its values; before
# it stands its length, 8, in any of protobuf's spellings. Such a file has no checksum and may lie
# anywhere on the machine: CVE-2022-25882, CVE-2024-27318.
_EXTERNAL_DATA = re.compile(rb'(?:\x08|\x88\x80*\x00)location')


@dataclass(frozen=True)
class ModelFolder:
    """A model whose files have all been read and found to be what its manifest says.

    Attributes:
        path: The folder as it was named.
        manifest: What the model offers.
        contents: Block name → the bytes of its ONNX graph.
    """

    path: Path
    manifest: Manifest
    contents: Mapping[str, bytes]


def open_model(path: Path | str) -> ModelFolder:
    """Read a model folder completely and check it.

    Raises:
        ModelError: The manifest is refused, or a file is missing, no regular file, outside the
            folder, changed, or refers to data outside itself.
    """
    path = Path(path)
    manifest = read_manifest(path)
    contents = {name: read_block(path, manifest, name) for name in manifest.files}
    return ModelFolder(path, manifest, contents)


def read_block(path: Path, manifest: Manifest, name: str) -> bytes:
    """Read the file of one block and check it.

    Raises:
        ModelError: The file is missing, no regular file, outside the folder, changed, or refers
            to data outside itself.
    """
    return read_file(path, manifest.files[name])


def read_file(path: Path, file: BlockFile) -> bytes:
    """Read one file of a model folder and check it.

    Raises:
        ModelError: The file is missing, no regular file, outside the folder, changed, or refers
            to data outside itself.
    """
    found = path / file.path
    # Where the manifest really lies: an installation may link every file of the folder.
    root = Path(os.path.realpath(path / MANIFEST)).parent
    if not Path(os.path.realpath(found)).is_relative_to(root):
        raise ModelError(f'{found} is a link that leaves the model folder {root}; refused')
    content = _read(found, MAX_BLOCK_BYTES)
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise ModelError(
            f'{found} is not the file that the manifest describes: sha256 {digest[:12]}… '
            f'instead of {file.sha256[:12]}…; copy or export the model again'
        )
    if _EXTERNAL_DATA.search(content):
        raise ModelError(
            f'{found} keeps weights in another file, which has no checksum; refused. Save it '
            'with save_as_external_data=False'
        )
    return content


def read_manifest(path: Path | str) -> Manifest:
    """Read the manifest of a model folder, and nothing else of it.

    Raises:
        ModelError: There is no readable manifest, or it is refused.
    """
    file = Path(path) / MANIFEST
    try:
        text = _read(file, MAX_BYTES).decode('utf-8')
    except UnicodeDecodeError as error:
        raise ModelError(f'{file} is not UTF-8 text: {error}') from error
    try:
        return parse_manifest(text)
    except ModelError as error:
        raise ModelError(f'{file}: {error}') from error


def _read(file: Path, limit: int) -> bytes:
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f'{file} is not a regular file')
        if not 0 < status.st_size <= limit:
            raise ModelError(f'{file} has {status.st_size} bytes; expected 1 to {limit}')
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f'{file} cannot be read: {error}; is this a model folder?') from error
