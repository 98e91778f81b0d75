# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fields of a manifest, each taken once and checked as it is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mt_perception.errors import ModelError

T = TypeVar('T')


class Fields:
    """A mapping from which every field is taken once, with its type; none may be left over.

    Args:
        data: What YAML made of it.
        where: Its place in the manifest, for messages.

    Raises:
        ModelError: It is no mapping.
    """

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            raise ModelError(f'{where} must be a mapping, found {type(data).__name__}')
        self._data = dict(data)
        self._where = where

    def take(
        self,
        key: str,
        kind: type[T],
        check: Callable[[Any], bool] = lambda value: True,
    ) -> T:
        """Take a field that has to be there.

        Raises:
            ModelError: It is missing, of another type, or ``check`` says no.
        """
        where = f'{self._where}.{key}'
        if key not in self._data:
            raise ModelError(f'{where} is missing')
        value: Any = self._data.pop(key)
        if kind is float and type(value) is int:
            value = float(value)
        # bool is an int to Python; a manifest that says `macs: true` is wrong all the same.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            found = f'{type(value).__name__} {value!r:.60}'
            raise ModelError(f'{where} must be of type {kind.__name__}, found {found}')
        if not check(value):
            raise ModelError(f'{where} is out of range: {value!r:.60}')
        return value

    def take_or(
        self,
        key: str,
        default: T,
        check: Callable[[Any], bool] = lambda value: True,
    ) -> T:
        """Take a field that need not be there; it has the type of its default.

        Raises:
            ModelError: It is there, of another type, or ``check`` says no.
        """
        return self.take(key, type(default), check) if key in self._data else default

    def finish(self) -> None:
        """See that nothing is left over, such as a misspelt name.

        Raises:
            ModelError: Something is.
        """
        if self._data:
            names = ', '.join(sorted(map(str, self._data)))
            raise ModelError(f'{self._where} has unknown fields: {names}')


def is_name(value: str) -> bool:
    """Whether this may name a model or a block, and so a file."""
    return re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9_.-]{0,63}', value) is not None


def names(value: list[object], where: str) -> tuple[str, ...]:
    """A list of different names.

    Raises:
        ModelError: It is something else.
    """
    found = tuple(v for v in value if isinstance(v, str) and v)
    if len(found) != len(value) or len(set(found)) != len(found):
        raise ModelError(f'{where} must be a list of different, non-empty strings')
    return found


def strings(value: Mapping[object, object], where: str) -> dict[str, str]:
    """A mapping of names to tensors.

    Raises:
        ModelError: It is something else, or empty.
    """
    found = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, str)}
    if len(found) != len(value) or not found:
        raise ModelError(f'{where} must map names to tensors, such as "s8: trunk/s8"')
    return found
