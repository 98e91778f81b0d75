# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads and writes model folders; every file is checked before it is used."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mt_perception.data_files import read_yaml, replace_text
from mt_perception.errors import ModelError
from mt_perception.model.blocks import BlockFile
from mt_perception.model.external_data import has_external_data
from mt_perception.model.manifest import Manifest, build_manifest, manifest_text, parse_manifest

MANIFEST = 'manifest.yaml'
MAX_BLOCK_BYTES = 1 << 31
"""Limit of protobuf, and so of one ONNX file."""

_ORT_FORMAT = b'ORTM'
"""Bytes 4 to 8 of ONNX Runtime's own format, whose weights may lie in another file too."""


@dataclass(frozen=True)
class ModelFolder:
    """A model folder in memory; all files match the checksums of the manifest.

    Attributes:
        path: The folder.
        manifest: The manifest.
        contents: Block name → content of its ONNX file.
    """

    path: Path
    manifest: Manifest
    contents: Mapping[str, bytes]


def open_model(path: Path | str) -> ModelFolder:
    """Read and check all files of a model folder.

    Raises:
        ModelError: The manifest is not valid, or a file is missing, not a regular file, outside
            the folder, changed, or refers to another file.
    """
    path = Path(path)
    manifest = read_manifest(path)
    contents = {name: read_block(path, manifest, name) for name in manifest.files}
    return ModelFolder(path, manifest, contents)


def file_problems(path: Path, manifest: Manifest) -> list[str]:
    """Reasons for which files of a model folder are refused, all of them."""
    files = list(manifest.files.values())
    if manifest.cut is not None:
        files += [manifest.cut.encoder_file, manifest.cut.tables, *manifest.cut.files.values()]
    problems = []
    for file in files:
        try:
            read_file(path, file)
        except ModelError as error:
            problems.append(str(error))
    return problems


def read_block(path: Path, manifest: Manifest, name: str) -> bytes:
    """Read and check the file of one block.

    Raises:
        ModelError: As in `open_model`.
    """
    return read_file(path, manifest.files[name])


def read_file(path: Path, file: BlockFile) -> bytes:
    """Read and check one file of a model folder.

    Raises:
        ModelError: As in `open_model`.
    """
    found = path / file.path
    # colcon's --symlink-install links every file; the folder is where the manifest really is.
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
    _check_self_contained(found, content)
    return content


def _check_self_contained(file: Path, content: bytes) -> None:
    try:
        external = has_external_data(content) or content[4:8] == _ORT_FORMAT
    except ValueError as error:
        raise ModelError(f'{file} is not an ONNX file: {error}') from error
    if external:
        raise ModelError(
            f'{file} keeps weights in another file, which has no checksum; refused. Save it '
            'as one ONNX file, with save_as_external_data=False'
        )


def read_manifest(path: Path | str) -> Manifest:
    """Read only the manifest of a model folder.

    Raises:
        ModelError: The manifest cannot be read or is not valid.
    """
    file = Path(path) / MANIFEST
    data = read_manifest_data(path)
    try:
        return build_manifest(data)
    except ModelError as error:
        raise ModelError(f'{file}: {error}') from error


def read_manifest_data(path: Path | str) -> Any:
    """Read the manifest of a model folder as plain data, without checks of its fields.

    Raises:
        ModelError: The file cannot be read or is not valid YAML.
    """
    try:
        return read_yaml(Path(path) / MANIFEST)
    except ModelError as error:
        raise ModelError(f'{error}; is this a model folder?') from error


def write_manifest_data(path: Path, data: Mapping[str, Any]) -> None:
    """Check plain data and replace the manifest of a model folder with it, atomically.

    Raises:
        ModelError: The data is not a valid manifest; nothing is written.
    """
    text = manifest_text(data)
    parse_manifest(text)
    replace_text(path / MANIFEST, text)


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
