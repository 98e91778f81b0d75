# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes the generated tables of the README and the parameter files in ``config/``.

`python tools/parameter_docs.py` rewrites them; tests check that they are up to date.
"""

from __future__ import annotations

import re
from pathlib import Path

from mt_perception.model.folder import read_manifest
from mt_perception.model.manifest import Manifest
from mt_perception.nodes.parameter_schema import markdown_table
from mt_perception.nodes.parameters import NODES, parameter_files

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / 'README.md'
MODEL = ROOT / 'models' / 'cspnano'


def accuracy_table(manifest: Manifest) -> str:
    """The accuracy figures of a manifest as a Markdown table."""
    rows = ['| task | figure | value | measured on |', '|---|---|---|---|']
    rows += [f'| {a.task} | {a.metric} | {a.value:.3f} | {a.data} |' for a in manifest.accuracy]
    return '\n'.join(rows) + '\n'


def with_tables(text: str) -> str:
    """The README with up-to-date tables."""
    tables = {f'parameters of {name}': markdown_table(node) for name, node in NODES.items()}
    tables['accuracy'] = accuracy_table(read_manifest(MODEL))
    for name, table in tables.items():
        begin, end = f'<!-- {name}: generated -->\n', '<!-- end -->'
        pattern = re.escape(begin) + '.*?' + re.escape(end)
        if re.search(pattern, text, re.DOTALL) is None:
            raise SystemExit(f'{README} has no markers for the table {name!r}')
        replacement = begin + table + end
        text = re.sub(pattern, lambda match, new=replacement: new, text, flags=re.DOTALL)
    return text


if __name__ == '__main__':
    for file, content in parameter_files().items():
        (ROOT / 'config' / file).write_text(content, encoding='utf-8')
    README.write_text(with_tables(README.read_text(encoding='utf-8')), encoding='utf-8')
