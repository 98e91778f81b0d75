# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Mutants of a file: programs in which one expression or statement is changed."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}  # fmt: skip
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        path: The file, relative to the root of the repository.
        index: Number of the change in the file.
        line: Line of the changed expression.
        lines: Lines of its statement; of a block, its head and the first line of its body.
        where: Name of the function or class around it.
        change: The change, for a reader.
        names: Names that its statement defines if it runs when the module is imported.
        number: How many equal changes of the function there are up to this one.
    """

    path: str
    index: int
    line: int
    lines: range
    where: str
    change: str
    names: tuple[str, ...] = ()
    number: int = 1

    @property
    def key(self) -> str:
        """Identity of the mutant; it changes with its line's text."""
        return f'{self.path}:{self.line}: {self.change}'

    @property
    def lasting_key(self) -> str:
        """Identity that does not change when lines are added above."""
        again = f' ({self.number})' if self.number > 1 else ''
        return f'{self.path}:{self.where}: {self.change}{again}'

    def source(self, root: Path) -> str:
        """The changed file."""
        tree = ast.parse((root / self.path).read_text(encoding='utf-8'))
        put, _, changed = list(_changes_of(tree))[self.index]
        put(changed)
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants_of(path: Path, root: Path) -> list[Mutant]:
    """All mutants of a file."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    name = str(path.relative_to(root))
    found: list[Mutant] = []
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    named = [one for one in statements if isinstance(one, functions)]
    defined = _defined(tree)
    seen: Counter[tuple[str, str]] = Counter()
    for _, node, changed in _changes_of(tree):
        before, after = (ast.unparse(one).split('\n')[0] for one in (node, changed))
        line = getattr(node, 'lineno', 0)
        inner, outer = _innermost(line, statements), _innermost(line, named)
        body = getattr(inner, 'body', None)
        last = max(body[0].lineno, line + 1) if body else getattr(inner, 'end_lineno', line)
        lines = range(getattr(inner, 'lineno', line), last + 1)
        where = getattr(outer, 'name', '')
        names = tuple(sorted(defined.get(inner, ()))) if inner else ()
        change = f'{before} → {after}'
        seen[where, change] += 1
        number = seen[where, change]
        found.append(Mutant(name, len(found), line, lines, where, change, names, number))
    return found


def _defined(tree: ast.Module | ast.ClassDef) -> dict[ast.stmt, set[str]]:
    """Names that the assignments of a module and of its classes define."""
    found: dict[ast.stmt, set[str]] = {}
    for one in tree.body:
        if isinstance(one, ast.Assign | ast.AnnAssign):
            stored = [node for node in ast.walk(one) if isinstance(node, ast.Name)]
            found[one] = {node.id for node in stored if isinstance(node.ctx, ast.Store)}
        elif isinstance(one, ast.ClassDef):
            found |= _defined(one)
    return found


def _innermost(line: int, statements: Sequence[ast.stmt]) -> ast.stmt | None:
    around = [one for one in statements if one.lineno <= line <= (one.end_lineno or 0)]
    return max(around, key=lambda one: one.lineno, default=None)


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """The changed copies of a node; none if its kind is not changed."""
    changed = copy.deepcopy(node)
    if isinstance(changed, ast.Compare) and len(changed.ops) == 1:
        changed.ops = [_COMPARISONS[type(changed.ops[0])]()]
        yield changed
    elif isinstance(changed, ast.BoolOp):
        changed.op = ast.Or() if isinstance(changed.op, ast.And) else ast.And()
        yield changed
    elif isinstance(changed, ast.UnaryOp) and isinstance(changed.op, ast.Not):
        yield changed.operand
    elif isinstance(changed, ast.BinOp | ast.AugAssign) and type(changed.op) in _OPERATORS:
        changed.op = _OPERATORS[type(changed.op)]()
        yield changed
    elif isinstance(changed, ast.Constant) and isinstance(changed.value, bool):
        yield ast.Constant(not changed.value)
    elif isinstance(changed, ast.Constant) and isinstance(changed.value, int | float):
        yield ast.Constant(changed.value * 2 + 1)
    elif isinstance(changed, ast.Return) and not isinstance(
        changed.value, ast.Constant | type(None)
    ):
        yield ast.Return(ast.Constant(None))
    elif isinstance(changed, ast.If):
        changed.test = ast.Constant(False)
        yield changed
    elif isinstance(changed, ast.Raise) or (
        isinstance(changed, ast.Expr) and isinstance(changed.value, ast.Call)
    ):
        yield ast.Pass()
    elif isinstance(changed, ast.ExceptHandler) and ast.unparse(changed.body) != 'raise':
        changed.body = [ast.Raise()]
        yield changed


def mutable(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Places of a tree that may change: (parent, field, index in a list).

    Annotations, decorators, texts of messages, blocks for type checkers and the argument
    ``strict`` of zip, whose inputs always have equal lengths, are left out.
    """
    for field, value in ast.iter_fields(tree):
        if field in ('annotation', 'returns', 'decorator_list', 'type_comment'):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else ((None, value),):
            if not isinstance(child, ast.AST) or isinstance(child, ast.JoinedStr):
                continue
            if isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test):
                continue
            if isinstance(child, ast.Assign) and 'TypeVar' in ast.dump(child.value):
                continue
            if isinstance(child, ast.Call) and _is_log(child):
                continue
            if isinstance(child, ast.keyword) and child.arg == 'strict':
                continue
            yield tree, field, index
            yield from mutable(child)


def _is_log(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and 'get_logger' in ast.dump(call.func.value)


def _changes_of(
    tree: ast.AST,
) -> Iterator[tuple[Callable[[ast.AST], None], ast.AST, ast.AST]]:
    """Each change of a tree: what makes it, the node, and the changed node."""
    for parent, field, index in mutable(tree):
        value = getattr(parent, field)
        node = value if index is None else value[index]
        for changed in changes(node):
            yield _putter(parent, field, index), node, changed


def _putter(parent: ast.AST, field: str, index: int | None) -> Callable[[ast.AST], None]:
    def put(node: ast.AST) -> None:
        if index is None:
            setattr(parent, field, node)
        else:
            getattr(parent, field)[index] = node

    return put
