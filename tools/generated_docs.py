# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the generated tables of the documents and the parameter files in ``config/``.

`python tools/generated_docs.py` rewrites them; tests check that they are up to date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mt_perception.model.folder import read_manifest
from mt_perception.model.manifest import Manifest
from mt_perception.nodes.parameter_schema import markdown_table
from mt_perception.nodes.parameters import NODES, parameter_files

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / 'models' / 'cspnano'


def accuracy_table(manifest: Manifest) -> str:
    """Return the accuracy figures of a manifest as a Markdown table."""
    rows = ['| task | figure | value | measured on |', '|---|---|---|---|']
    rows += [f'| {a.task} | {a.metric} | {a.value:.3f} | {a.data} |' for a in manifest.accuracy]
    return '\n'.join(rows) + '\n'


def tables() -> dict[Path, Mapping[str, str]]:
    """Document → name of each generated table in it → the table."""
    parameters = {f'parameters of {name}': markdown_table(node) for name, node in NODES.items()}
    return {
        ROOT / 'README.md': {'accuracy': accuracy_table(read_manifest(MODEL))},
        ROOT / 'docs' / 'parameters.md': parameters,
    }


def with_tables(file: Path) -> str:
    """Return the text of a document with up-to-date tables.

    Raises:
        SystemExit: The document has no markers for one of its tables.
    """
    text = file.read_text(encoding='utf-8')
    for name, table in tables()[file].items():
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
    for document in tables():
        document.write_text(with_tables(document), encoding='utf-8')
