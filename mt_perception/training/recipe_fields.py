# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Strict reading of a recipe's maps: what is unknown, missing or of the wrong kind is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from mt_perception.errors import ModelError

T = TypeVar('T')


def build(kind: type[T], data: Any, where: str) -> T:
    """Make a dataclass from a map that has its fields, and no other.

    Raises:
        ModelError: a field is unknown or missing; the message names all of them.
    """
    values = mapping(data, where)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    missing = sorted(
        n for n, f in known.items()
        if n not in values and f.default is MISSING and f.default_factory is MISSING
    )  # fmt: skip
    if unknown or missing:
        raise ModelError(f'{where}: unknown fields {unknown}, missing fields {missing}')
    return kind(**values)


def mapping(data: Any, where: str) -> dict[str, Any]:
    """Give a copy of a map."""
    if not isinstance(data, dict):
        raise ModelError(f'{where}: expected a map, found {type(data).__name__}')
    return dict(data)


def list_of(root: Mapping[str, Any], key: str) -> list[Any]:
    """Give a copy of the list that a map has under a key."""
    if not isinstance(root.get(key), list):
        raise ModelError(f'{key}: expected a list')
    return list(root[key])


def number(value: Any, where: str, least: float = 0.0) -> float:
    """Give a number that is not below the least."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ModelError(f'{where}: expected a number of at least {least:g}, found {value!r}')
    return float(value)
