# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Strict conversion of a recipe's YAML maps: errors name unknown, missing and wrong values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from mt_perception.errors import ModelError

T = TypeVar('T')

Limits = Mapping[str, tuple[float, float]]
"""Field → least and largest value; of a map, the limits of each of its values."""

_KINDS = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'text'}
LARGEST = math.inf
_LARGEST_SIDE = 4096
COUNT, SHARE, POSITIVE = (1.0, LARGEST), (0.0, 1.0), (0.0, LARGEST)


def build(
    kind: type[T],
    data: Any,
    where: str,
    renamed: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> T:
    """Make a dataclass from a map that has its fields and no others.

    Args:
        kind: the dataclass.
        data: the map, as YAML gives it.
        where: place in the recipe, for errors.
        renamed: earlier name of a field → its name; both are accepted.
        limits: limits of the fields' numbers.

    Raises:
        ModelError: a field is unknown or missing; the message names all of them and suggests
            the known field that an unknown one resembles. Or a value is of another type than its
            field, or outside its limits.
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
    hints = get_type_hints(kind)
    for name, value in values.items():
        _check_type(value, hints[name], f'{where}: {name}')
    for name, (least, most) in (limits or {}).items():
        for place, value in _numbers(name, values.get(name)):
            if not least <= value <= most:
                raise ModelError(
                    f'{where}: {place}: expected {_range(least, most)}, found {value!r}'
                )
    return kind(**values)


def _numbers(name: str, value: Any) -> list[tuple[str, float]]:
    """Return the numbers of a field, with their places."""
    if isinstance(value, dict):
        return [(f'{name}.{key}', one) for key, one in value.items()]
    if isinstance(value, list | tuple):
        return [(name, one) for one in value]
    return [] if value is None else [(name, value)]


def _range(least: float, most: float) -> str:
    return f'at least {least:g}' if most == LARGEST else f'a number from {least:g} to {most:g}'


def _check_type(value: Any, hint: Any, where: str) -> None:
    """Refuse a value that is not of the annotated type of its field."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        if value is not None:
            _check_type(value, next(each for each in inner if each is not NoneType), where)
    elif origin is tuple:
        if not isinstance(value, list | tuple):
            raise ModelError(f'{where}: expected a list, found {value!r:.60}')
        if inner[-1] is not Ellipsis and len(value) != len(inner):
            raise ModelError(f'{where}: expected {len(inner)} values, found {value!r:.60}')
        for one in value:
            _check_type(one, inner[0], where)
    elif origin is not None:
        for key, one in mapping(value, where).items():
            _check_type(key, inner[0], where)
            _check_type(one, inner[1], f'{where}.{key}')
    elif hint is float:
        number(value, where, -LARGEST)
    elif type(value) is not hint and hint in _KINDS:
        raise ModelError(f'{where}: expected {_KINDS[hint]}, found {value!r:.60}')


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
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ModelError(f'{where}: expected a number, found {value!r:.60}{_exponent(value)}')
    if not value >= least:
        raise ModelError(f'{where}: expected a number of at least {least:g}, found {value!r}')
    return float(value)


def _exponent(value: Any) -> str:
    """Return how to write a number that YAML takes for text, as 1e-3, or an empty string."""
    try:
        return f'; write it as {float(value)!r}' if isinstance(value, str) else ''
    except ValueError:
        return ''


def canvases_of(root: Mapping[str, Any], where: str) -> tuple[tuple[int, int], ...]:
    """Return the sizes (height, width) of batches that a map has under `canvases`."""
    sizes = [tuple(size) if isinstance(size, list) else () for size in list_of(root, 'canvases')]
    sides = [side for size in sizes for side in size]
    if (
        not sizes
        or any(len(size) != 2 for size in sizes)
        or not all(type(side) is int and 0 < side <= _LARGEST_SIDE for side in sides)
        or any(side % 32 for side in sides)
    ):
        raise ModelError(
            f'{where}: canvases: expected a list of [height, width] in pixels, multiples of 32 of '
            f'at most {_LARGEST_SIDE}, found {root["canvases"]!r:.60}'
        )
    return tuple((height, width) for height, width in sizes)


def check_choice(value: Any, choices: tuple[str, ...], where: str) -> None:
    """Refuse a value that is none of the choices."""
    if value not in choices:
        listed = f'{", ".join(choices[:-1])} or {choices[-1]}'
        raise ModelError(f'{where}: expected {listed}, found {value!r}')
