# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the generated tables of the documents and the parameter files in ``config/``.

`python tools/generated_docs.py` rewrites them; tests check that they are up to date.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import mt_perception
from mt_perception.nodes.parameter_schema import markdown_table
from mt_perception.nodes.parameters import NODES, parameter_files

# The tools beside this one, also where a test loads it by its path.
sys.path.insert(0, str(Path(__file__).resolve().parent))
from command_reference import command_reference
from release_tables import card_table, release_table

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / 'docs'
MODELS = sorted(card.parent for card in (ROOT / 'models').glob('*/MODEL_CARD.md'))


def tables() -> dict[Path, Mapping[str, str]]:
    """Document → name of each generated table in it → the table."""
    parameters = {f'parameters of {name}': markdown_table(node) for name, node in NODES.items()}
    return {
        ROOT / 'README.md': {'release figures': release_table(MODELS)},
        DOCS / 'performance.md': {
            f'{first} of {model.name}': card_table(model, first)
            for model in MODELS
            for first in ('detector', 'segmenter', 'scene', 'mean over scenes')
        },
        DOCS / 'parameters.md': parameters,
        DOCS / 'api.md': {'public names': api_table()},
        DOCS / 'commands.md': {'commands': command_reference()},
        DOCS / 'payload.md': {
            'payload': byte_layout('payload'),
            'compact': byte_layout('compact_response'),
        },
    }


def byte_layout(module: str) -> str:
    """Return the table of bytes in the docstring of a module of offload, without importing it."""
    source = (Path(mt_perception.__file__).parent / 'offload' / f'{module}.py').read_text('utf-8')
    docstring = ast.get_docstring(ast.parse(source), clean=False) or ''
    layout = re.search(r'::\n\n(.*?)\n\n(?=\S)', docstring, re.DOTALL)
    assert layout is not None
    return f'```text\n{layout[1]}\n```\n'


def api_table() -> str:
    """Return every public name with the first line of its docstring, errors last."""
    names = sorted(mt_perception.__all__, key=lambda name: (name.endswith('Error'), name))
    rows = [f'| `{name}` | {_first_line(getattr(mt_perception, name))} |' for name in names]
    return '\n'.join(['| name | what it is |', '|---|---|', *rows]) + '\n'


def _first_line(value: object) -> str:
    return (inspect.getdoc(value) or '').split('\n\n')[0].replace('\n', ' ').replace('|', '\\|')


def with_tables(file: Path, tables: Mapping[str, str]) -> str:
    """Return the text of a document with up-to-date tables.

    Args:
        file: The document.
        tables: Name → table.

    Raises:
        SystemExit: The document has no markers for one of its tables.
    """
    text = file.read_text(encoding='utf-8')
    for name, table in tables.items():
        begin, end = f'<!-- {name}: generated -->\n', '<!-- end -->'
        pattern = re.escape(begin) + '.*?' + re.escape(end)
        if re.search(pattern, text, re.DOTALL) is None:
            raise SystemExit(f'{file} has no markers for the table {name!r}')
        replacement = begin + table + end
        text = re.sub(pattern, lambda match, new=replacement: new, text, flags=re.DOTALL)
    return text


if __name__ == '__main__':
    for name, content in parameter_files().items():
        (ROOT / 'config' / name).write_text(content, encoding='utf-8')
    for document, contents in tables().items():
        document.write_text(with_tables(document, contents), encoding='utf-8')
