# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Typed access to the fields of a parsed YAML or JSON mapping; unknown fields are an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from mt_perception.errors import ModelError

T = TypeVar('T')


class Fields:
    """A mapping whose fields are each read once, with type and range checks.

    Args:
        data: The parsed mapping.
        where: Its place in the document, for messages.

    Raises:
        ModelError: ``data`` is not a mapping.
    """

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            raise ModelError(f'{where} must be a mapping, found {type(data).__name__}')
        self._data = dict(data)
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def take(
        self,
        key: str,
        kind: type[T],
        check: Callable[[Any], bool] = lambda value: True,
    ) -> T:
        """Read a required field.

        Raises:
            ModelError: The field is missing, has another type, or ``check`` returns False.
        """
        where = f'{self._where}.{key}'
        if key not in self._data:
            raise ModelError(f'{where} is missing')
        value: Any = self._data.pop(key)
        if kind is float and type(value) is int:
            value = float(value)
        # bool is a subclass of int in Python, but `macs: true` is an error.
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
        """Read an optional field of the type of its default.

        Raises:
            ModelError: The field has another type, or ``check`` returns False.
        """
        return self.take(key, type(default), check) if key in self._data else default

    def take_size(self, key: str, low: int, high: int) -> tuple[int, int]:
        """Read ``[height, width]``, both from ``low`` to ``high`` pixels.

        Raises:
            ModelError: The field is missing or is not such a list.
        """
        value: list[object] = self.take(key, list)
        sides = [side for side in value if type(side) is int and low <= side <= high]
        if len(value) != 2 or len(sides) != 2:
            raise ModelError(
                f'{self._where}.{key} must be [height, width], {low} to {high} pixels each, '
                f'found {value!r:.60}'
            )
        return sides[0], sides[1]

    def take_accuracy(self) -> dict[str, float]:
        """Read ``accuracy``: a mapping of task to the value of its main metric.

        Raises:
            ModelError: The field is missing, or a value is not a number from 0 to 10^6.
        """
        data: dict[object, object] = self.take('accuracy', dict)
        fields = Fields(data, f'{self._where}.accuracy')
        return {str(t): fields.take(str(t), float, lambda v: 0 <= v < 1e6) for t in data}

    def finish(self, later: Collection[str] = ()) -> None:
        """Check that every field was read; this finds misspelt names.

        Args:
            later: Fields that are read later.

        Raises:
            ModelError: A field was not read.
        """
        unknown = sorted(str(key) for key in self._data if key not in later)
        if unknown:
            raise ModelError(f'{self._where} has unknown fields: {", ".join(unknown)}')


def all_of(readers: Iterable[Callable[[], T]]) -> list[T]:
    """Call readers of independent parts of a document.

    Raises:
        ModelError: Some parts are refused; the error holds the problems of all of them.
    """
    found: list[T] = []
    problems: list[str] = []
    for read in readers:
        try:
            found.append(read())
        except ModelError as error:
            problems += error.problems
    if problems:
        raise ModelError(*problems)
    return found


def is_name(value: str) -> bool:
    """Whether a string is valid as the name of a model or a block, and so of a file."""
    return re.fullmatch(r'[A-Za-z0-9][A-Za-z0-9_.-]{0,63}', value) is not None


def names(value: list[object], where: str) -> tuple[str, ...]:
    """Check a list of distinct, non-empty strings.

    Raises:
        ModelError: The list is not one.
    """
    found = tuple(v for v in value if isinstance(v, str) and v)
    if len(found) != len(value) or len(set(found)) != len(found):
        raise ModelError(f'{where} must be a list of different, non-empty strings')
    return found


def strings(value: Mapping[object, object], where: str) -> dict[str, str]:
    """Check a non-empty mapping of names to tensors.

    Raises:
        ModelError: The mapping is not one.
    """
    found = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, str)}
    if len(found) != len(value) or not found:
        raise ModelError(f'{where} must map names to tensors, such as "s8: trunk/s8"')
    return found
