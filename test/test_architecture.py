# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""ARCHITECTURE.md agrees with the code: its layers, and the functions that a frame passes."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

import pytest
from test_house import LAYERS, PACKAGE, ROOT

PAGE = (ROOT / 'ARCHITECTURE.md').read_text(encoding='utf-8')


@dataclass(frozen=True)
class Step:
    """A line of the frame's walk."""

    depth: int
    file: str
    function: str

    @property
    def layer(self) -> int:
        return LAYERS[self.file.split('/')[0].removesuffix('.py')]

    def __str__(self) -> str:
        return f'{self.file}:{self.function}'


def walk() -> list[Step]:
    pattern = re.compile(r'^( *)\d+\. `([\w/]+\.py)` `([\w.]+)`', re.MULTILINE)
    return [Step(len(m[1]) // 3, m[2], m[3]) for m in pattern.finditer(PAGE)]


def calls() -> list[tuple[Step, Step]]:
    """Return the pairs of a function and one that the page indents below it."""
    open_steps: list[Step] = []
    pairs = []
    for step in walk():
        del open_steps[step.depth :]
        if open_steps:
            pairs.append((open_steps[-1], step))
        open_steps.append(step)
    return pairs


def definition(step: Step) -> ast.AST:
    """Return the definition of a function or method.

    Raises:
        StopIteration: There is none.
    """
    node: ast.AST = ast.parse((PACKAGE / step.file).read_text(encoding='utf-8'))
    for name in step.function.split('.'):
        node = next(
            child
            for child in ast.iter_child_nodes(node)
            if isinstance(child, (ast.ClassDef, ast.FunctionDef)) and child.name == name
        )
    return node


def test_layers_are_those_of_the_code() -> None:
    rows = re.findall(r'^\| (\d+) \| `(\w+)` \|', PAGE, re.MULTILINE)
    assert {part: int(layer) for layer, part in rows} == LAYERS
    assert len(rows) == len(LAYERS)


def test_every_part_has_a_layer() -> None:
    parts = {
        path.stem
        for path in PACKAGE.iterdir()
        if not path.name.startswith('__') and (path.suffix == '.py' or path.is_dir())
    }
    assert parts == LAYERS.keys()


@pytest.mark.parametrize('step', walk(), ids=str)
def test_a_frame_passes_functions_that_exist(step: Step) -> None:
    assert definition(step)


@pytest.mark.parametrize(('caller', 'called'), calls(), ids=str)
def test_a_frame_goes_down_by_real_calls(caller: Step, called: Step) -> None:
    assert called.layer <= caller.layer
    name = called.function.rpartition('.')[2]
    used = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(definition(caller))
        if isinstance(node, (ast.Attribute, ast.Name))
    }
    assert name in used


def test_files_that_the_page_names_exist() -> None:
    for file in re.findall(r'`([\w/]+\.py)`', PAGE):
        assert any((folder / file).is_file() for folder in (PACKAGE, ROOT)), file
    assert len(walk()) > 15
