# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Strict conversion of a recipe's YAML maps: errors name unknown, missing and wrong values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any, TypeVar

from mt_perception.errors import ModelError

T = TypeVar('T')


def build(kind: type[T], data: Any, where: str, renamed: Mapping[str, str] | None = None) -> T:
    """Make a dataclass from a map that has its fields and no others.

    Args:
        kind: the dataclass.
        data: the map, as YAML gives it.
        where: place in the recipe, for errors.
        renamed: earlier name of a field → its name today; both are accepted.

    Raises:
        ModelError: a field is unknown or missing; the message names all of them and suggests
            the known field that an unknown one resembles.
    """
    values = mapping(data, where)
    for old, new in (renamed or {}).items():
        if old in values:
            values[new] = values.pop(old)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    missing = sorted(
        n for n, f in known.items()
        if n not in values and f.default is MISSING and f.default_factory is MISSING
    )  # fmt: skip
    unknown = [suggestion(name, known) for name in sorted(set(values) - set(known))]
    if unknown or missing:
        parts = [f'unknown fields: {", ".join(unknown)}'] * bool(unknown)
        parts += [f'missing fields: {", ".join(missing)}'] * bool(missing)
        raise ModelError(f'{where}: {"; ".join(parts)}')
    return kind(**values)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return an unknown name, with the known name that it resembles where there is one."""
    close = get_close_matches(str(name), list(known), n=1)
    return f'{name} (did you mean {close[0]}?)' if close else str(name)


def mapping(data: Any, where: str) -> dict[str, Any]:
    """Return a copy of a map."""
    if not isinstance(data, dict):
        raise ModelError(f'{where}: expected a map, found {type(data).__name__}')
    return dict(data)


def list_of(root: Mapping[str, Any], key: str) -> list[Any]:
    """Return a copy of the list that a map has under a key."""
    if not isinstance(root.get(key), list):
        raise ModelError(f'{key}: expected a list, found {type(root.get(key)).__name__}')
    return list(root[key])


def number(value: Any, where: str, least: float = 0.0) -> float:
    """Return a number that is not below a lower limit."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
        raise ModelError(f'{where}: expected a number of at least {least:g}, found {value!r}')
    return float(value)


def check_choice(value: Any, choices: tuple[str, ...], where: str) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        listed = f'{", ".join(choices[:-1])} or {choices[-1]}'
        raise ModelError(f'{where}: expected {listed}, found {value!r}')
