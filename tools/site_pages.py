# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MkDocs hook: pages of the site that are files elsewhere in the repository, and the API page.

Links that lead out of ``docs/`` become links to these pages, or plain text for other files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

import mt_perception

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    'index.md': 'README.md',
    'architecture.md': 'ARCHITECTURE.md',
    'contributing.md': 'CONTRIBUTING.md',
    'changelog.md': 'CHANGELOG.md',
    'security.md': 'SECURITY.md',
    'code-of-conduct.md': 'CODE_OF_CONDUCT.md',
    'examples.md': 'examples/README.md',
    'model-card.md': 'models/cspnano/MODEL_CARD.md',
}
"""Page of the site → file of the repository."""

_LINK = re.compile(r'(?<!!)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)')


class Examples(griffe.Extension):
    """Shows the section ``Example:`` of a docstring as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename the section to the only name that the parser has for it."""
        if obj.docstring is not None:
            text = re.sub(r'^Example:$', 'Examples:', obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = text


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for page, source in PAGES.items():
        text = (ROOT / source).read_text(encoding='utf-8')
        files.append(File.generated(config, page, content=_with_links(text, source)))
    files.append(File.generated(config, 'api.md', content=_api_page()))
    for file in list(files):
        if file.src_uri not in PAGES and file.src_uri != 'api.md' and file.is_documentation_page():
            files.remove(file)
            text = _with_links(file.content_string, f'docs/{file.src_uri}')
            files.append(File.generated(config, file.src_uri, content=text))
    return files


def _api_page() -> str:
    """Every public name with its docstring."""
    names = sorted(mt_perception.__all__, key=lambda name: (name.endswith('Error'), name))
    return '# Python API\n\n' + '\n'.join(f'::: mt_perception.{name}\n' for name in names)


def _with_links(text: str, source: str) -> str:
    """Return a page with links that are valid in the site.

    Args:
        text: The text of the file.
        source: Its path in the repository.
    """
    text = text.replace('](docs/', '](').replace('src="docs/', 'src="')
    site = {f'docs/{path.name}': path.name for path in (ROOT / 'docs').iterdir()}
    site |= {file: page for page, file in PAGES.items()}

    def replaced(link: re.Match[str]) -> str:
        label, target, anchor = link[1], link[2], link[3] or ''
        if '://' in target:
            return link[0]
        folder = os.path.dirname(source)
        file = os.path.normpath(os.path.join(folder, target))
        page = site.get(file) or site.get(f'docs/{target}')
        return f'[{label}]({page}{anchor})' if page else label

    return _LINK.sub(replaced, text)
