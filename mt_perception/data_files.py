# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads YAML and JSON from untrusted files within limits; the only reader in the package.

Values are ``None``, ``bool``, ``int``, ``float``, ``str``, ``list`` and ``dict``. Both formats
have the same limits on file size, nesting, number of values, numbers and text, so that code
behind this module needs none of its own. An alias in YAML counts as often as it is used.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mt_perception.errors import ModelError, PerceptionError

LARGEST_INTEGER = (1 << 63) - 1

_LONGEST_NUMBER = 64
"""Characters in a number of YAML: enough for 63 binary digits."""

_BOOLEANS = {'yes': True, 'no': False, 'true': True, 'false': False, 'on': True, 'off': False}
_PREFIX = 'tag:yaml.org,2002:'
_BYTE_ORDER_MARK = '\ufeff'


@dataclass(frozen=True)
class Limits:
    """Limits on one document.

    Attributes:
        size: Bytes of the file.
        values: Number of values, with every alias expanded.
        depth: Levels of nested lists and mappings.
        finite: Whether NaN, infinities and integers beyond 64 bits are refused; else such
            integers of JSON become floats.
    """

    size: int = 1 << 20
    values: int = 100_000
    depth: int = 40
    finite: bool = True


SMALL = Limits()
"""For a manifest, a recipe, a taxonomy or a camera file."""

LARGE = Limits(size=1 << 29, values=100_000_000)
"""For annotations and results, which grow with the number of images."""


def read_yaml(
    path: Path, error: type[PerceptionError] = ModelError, limits: Limits = SMALL
) -> Any:
    """Read a YAML file.

    Args:
        path: The file.
        error: Class of the error to raise; it takes one message.
        limits: Limits on the document.

    Raises:
        PerceptionError: As ``error``: the file cannot be read, is not valid YAML, has duplicate
            keys, a tag other than the standard scalars, text with NUL or surrogates, a number
            that is not finite or beyond 64 bits, or exceeds a limit. The message names file and
            line.
    """
    return parse_yaml(read_text(path, error, limits), str(path), error, limits)


def read_json(
    path: Path, error: type[PerceptionError] = ModelError, limits: Limits = LARGE
) -> Any:
    """Read a JSON file; parameters and errors as in `read_yaml`."""
    return parse_json(read_text(path, error, limits), str(path), error, limits)


def parse_yaml(
    text: str, name: str, error: type[PerceptionError] = ModelError, limits: Limits = SMALL
) -> Any:
    """Parse YAML; ``name`` stands in messages, errors as in `read_yaml`."""
    try:
        _check_size(len(text), limits)
        loader = _Loader(text, limits)
        try:
            root = loader.get_single_node()
            return None if root is None else loader.value(root)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as found:
        mark = found.problem_mark or found.context_mark
        line = '' if mark is None else f':{mark.line + 1}'
        raise error(f'{name}{line}: {found.problem or found}') from found
    except (_RuleError, yaml.YAMLError) as found:
        raise error(f'{name}: {" ".join(str(found).split())}') from found
    except (ValueError, ArithmeticError, LookupError, TypeError, RecursionError) as found:
        # PyYAML converts escapes and directives without checks: "\UFFFFFFFF" overflows chr().
        raise error(f'{name}: not valid YAML: {type(found).__name__}: {found}') from found


def parse_json(
    text: str | bytes,
    name: str,
    error: type[PerceptionError] = ModelError,
    limits: Limits = LARGE,
) -> Any:
    """Parse JSON; ``name`` stands in messages, errors as in `read_yaml`."""
    try:
        _check_size(len(text), limits)
        if isinstance(text, bytes):
            text = _decoded(text)
        value = json.loads(
            text,
            parse_int=_json_integer if limits.finite else _any_integer,
            parse_constant=_refuse_constant if limits.finite else float,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as found:
        raise error(f'{name}:{found.lineno}: not valid JSON: {found.msg}') from found
    except RecursionError as found:
        raise error(f'{name}: nested deeper than {limits.depth} levels') from found
    except _RuleError as found:
        raise error(f'{name}: {found}') from found
    problem = _JsonCheck(limits).problem(value, 0)
    if problem is not None:
        raise error(f'{name}: {problem}')
    return value


class _RuleError(ValueError):
    """A document breaks a rule of this module; becomes the caller's error."""


def read_text(
    path: Path, error: type[PerceptionError] = ModelError, limits: Limits = SMALL
) -> str:
    """Read a UTF-8 text file; a byte order mark is dropped.

    Raises:
        PerceptionError: As ``error``: the file cannot be read, is not a regular file, is larger
            than ``limits.size``, or is not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise error(f'{path} is not a regular file')
        _check_size(status.st_size, limits)
        return _decoded(path.read_bytes())
    except _RuleError as found:
        raise error(f'{path}: {found}') from found
    except (OSError, ValueError) as found:
        reason = found.strerror if isinstance(found, OSError) else found
        raise error(f'{path} cannot be read: {reason}') from found


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Path of a new file beside ``path``; it becomes ``path`` if the block ends without an error.

    Each call has its own file, so that two programs may write one path. No file but ``path`` is
    replaced, and after an error nothing stays.
    """
    # Not tempfile.mkstemp, whose files only their owner can read.
    partial = path.with_name(f'.{secrets.token_hex(8)}.partial{path.suffix}')
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    with replacing(path) as partial, partial.open('x', encoding='utf-8', newline='\n') as file:
        file.write(text)
        # Some file systems report a full disk only here.
        file.flush()
        os.fsync(file.fileno())


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.size:
        raise _RuleError(f'has {size} bytes; at most {limits.size} are read')


def _decoded(content: bytes) -> str:
    try:
        # Editors on Windows write a byte order mark.
        return content.decode('utf-8').removeprefix(_BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        raise _RuleError(f'is not UTF-8 text: {error}') from error


def _check_text(text: str) -> str:
    if '\0' in text:
        raise _RuleError(f'text contains a NUL character: {text!r:.60}')
    if not text.isascii() and any('\ud800' <= character <= '\udfff' for character in text):
        raise _RuleError(f'text contains half of a surrogate pair: {text!r:.60}')
    return text


class _Loader(yaml.SafeLoader):
    """Builds values from YAML nodes within limits.

    PyYAML's own constructors expand merge keys and aliases without a limit, replace duplicate
    keys silently, and raise whatever ``int`` and ``datetime`` raise.
    """

    def __init__(self, text: str, limits: Limits) -> None:
        super().__init__(text)
        self._limits = limits
        self._depth = -1
        self._count = 0
        self._entry: Node | None = None

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self._depth += 1
        if self._depth > self._limits.depth:
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise _at(event, f'nested deeper than {self._limits.depth} levels')
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def value(self, node: Node, depth: int = 0) -> Any:
        """The value of a node; ``depth`` also bounds an alias to a node around itself."""
        self._count += 1
        if self._count > self._limits.values:
            # The mark of an alias is where its anchor stands.
            place = self._entry or node
            raise _at(place, f'more than {self._limits.values} values, with aliases expanded')
        if depth > self._limits.depth:
            raise _at(node, f'nested deeper than {self._limits.depth} levels')
        tag = node.tag.removeprefix(_PREFIX)
        if isinstance(node, ScalarNode) and tag in _SCALARS:
            try:
                return _SCALARS[tag](self, node)
            except (ValueError, ArithmeticError, LookupError) as error:
                message = str(error) if isinstance(error, _RuleError) else f'not a valid {tag}'
                raise _at(node, message) from error
        if isinstance(node, SequenceNode) and tag == 'seq':
            return [self.value(child, depth + 1) for child in node.value]
        if isinstance(node, MappingNode) and tag == 'map':
            return self._mapping(node, depth)
        raise _at(node, f'tag {node.tag!r:.60} is not supported; use plain values')

    def _mapping(self, node: MappingNode, depth: int) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if depth == 0:
                self._entry = key_node
            value = self.value(value_node, depth + 1)
            if key_node.tag == f'{_PREFIX}merge':
                for source in reversed(value if isinstance(value, list) else [value]):
                    if not isinstance(source, dict):
                        raise _at(value_node, '"<<" merges mappings only')
                    merged.update(source)
                continue
            if not isinstance(key_node, ScalarNode):
                raise _at(key_node, 'a key must be a single value')
            key = self.value(key_node, depth + 1)
            if key in own:
                raise _at(key_node, f'key {key!r:.60} occurs twice')
            own[key] = value
        return {**merged, **own}

    def integer(self, node: ScalarNode) -> int:
        """An integer of at most 64 bits."""
        if len(node.value) > _LONGEST_NUMBER:
            raise _RuleError(f'number {node.value!r:.30} is too large')
        return _small(int(self.construct_yaml_int(node)))

    def number(self, node: ScalarNode) -> float:
        """A number, finite if the limits say so."""
        value = float(self.construct_yaml_float(node))
        if self._limits.finite and not math.isfinite(value):
            raise _RuleError(f'number {node.value!r:.30} is not finite')
        return value


# A date stays text: a manifest may have `version: 2026-11-29`.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if tag != f'{_PREFIX}timestamp']
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_SCALARS: dict[str, Callable[[_Loader, ScalarNode], Any]] = {
    'null': lambda _, node: None,
    'bool': lambda _, node: _boolean(node.value),
    'int': _Loader.integer,
    'float': _Loader.number,
    'str': lambda _, node: _check_text(node.value),
    # A lone "=", which YAML 1.1 reserves.
    'value': lambda _, node: _check_text(node.value),
}


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise _RuleError(f'{text!r:.30} is not a bool')
    return _BOOLEANS[text.lower()]


def _at(place: Any, message: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=place.start_mark)


def _small(value: int) -> int:
    if abs(value) > LARGEST_INTEGER:
        raise _RuleError(f'number {value!r:.30} is beyond 64 bits')
    return value


def _json_integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise _RuleError(f'number {text:.30}… is beyond 64 bits')
    return _small(int(text))


def _any_integer(text: str) -> int | float:
    value = float(text)
    return int(text) if abs(value) < LARGEST_INTEGER else value


def _refuse_constant(text: str) -> float:
    raise _RuleError(f'number {text} is not finite')


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _RuleError(f'key {twice!r:.60} occurs twice')
    return made


class _JsonCheck:
    """Searches a JSON value for content that the parser accepts and this module refuses."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.values

    def problem(self, value: Any, depth: int) -> str | None:
        """The first problem with its place, such as ``images: 3: file_name: text …``."""
        if isinstance(value, str):
            try:
                _check_text(value)
            except _RuleError as error:
                return str(error)
        elif isinstance(value, float) and self._limits.finite and not math.isfinite(value):
            return 'number is too large'
        elif isinstance(value, (list, dict)):
            self._left -= len(value)
            if depth >= self._limits.depth:
                return f'nested deeper than {self._limits.depth} levels'
            if self._left < 0:
                return f'more than {self._limits.values} values'
            return self._within(value, depth + 1)
        return None

    def _within(self, value: list[Any] | dict[str, Any], depth: int) -> str | None:
        if isinstance(value, dict):
            for key in value:
                if (problem := self.problem(key, depth)) is not None:
                    return problem
        items: Iterable[tuple[object, Any]]
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for place, item in items:
            # Most values of a large file are numbers and need no call.
            if type(item) is int or (type(item) is float and math.isfinite(item)):
                continue
            if (problem := self.problem(item, depth)) is not None:
                return f'{place}: {problem}'
        return None
