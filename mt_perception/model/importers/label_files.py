# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Class names of a network: from a file, from the network's metadata, or COCO's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mt_perception.data_files import parse_yaml, read_json, read_text, read_yaml
from mt_perception.errors import ModelError
from mt_perception.types import UNLABELLED

if TYPE_CHECKING:
    import onnx

_KEYS = ('names', 'classes', 'id2label')
_MOST = 1 << 16


def read_labels(path: Path) -> tuple[str, ...]:
    """Read class names by class id.

    Args:
        path: A text file with one name a line, or YAML or JSON: a list of names, a mapping of
            id to name, or a mapping with one of them under ``names``, ``classes`` or
            ``id2label``.

    Raises:
        ModelError: The file cannot be read, has no names, or a name occurs twice.
    """
    suffix = path.suffix.lower()
    if suffix in ('.yaml', '.yml'):
        found = _listed(read_yaml(path), str(path))
    elif suffix == '.json':
        found = _listed(read_json(path), str(path))
    else:
        lines = [line.strip() for line in read_text(path).splitlines()]
        found = [line for line in lines if line]
    return _checked(found, str(path))


def metadata_labels(model: onnx.ModelProto) -> tuple[str, ...]:
    """Class names in a network's metadata, as Ultralytics writes them; empty if there are none."""
    text = next((entry.value for entry in model.metadata_props if entry.key == 'names'), '')
    try:
        return _checked(_listed(parse_yaml(text, 'names'), 'names'), 'names') if text else ()
    except ModelError:
        return ()


def _listed(data: Any, where: str) -> list[str]:
    if isinstance(data, Mapping):
        data = next((data[key] for key in _KEYS if key in data), data)
    if isinstance(data, list):
        return [str(name) for name in data]
    if not isinstance(data, Mapping) or not data:
        raise ModelError(f'{where}: expected class names as a list or as a mapping of id to name')
    try:
        names = {int(number): str(name) for number, name in data.items()}
    except (TypeError, ValueError) as error:
        raise ModelError(f'{where}: a class id is not a number: {error}') from error
    if not 0 <= min(names) <= max(names) < _MOST:
        raise ModelError(f'{where}: class ids must be from 0 to {_MOST - 1}')
    # COCO's ids have gaps.
    return [names.get(number, f'unused {number}') for number in range(max(names) + 1)]


def _checked(names: list[str], where: str) -> tuple[str, ...]:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if not names or twice:
        reason = f'the name {twice[0]!r} occurs twice' if twice else 'there are no class names'
        raise ModelError(f'{where}: {reason}')
    if len(names) > UNLABELLED:
        raise ModelError(f'{where}: {len(names)} classes; at most {UNLABELLED} are supported')
    return tuple(names)
