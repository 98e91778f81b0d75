# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""MkDocs hook: pages of the site that are files elsewhere in the repository, and the API's texts.

Links that lead out of ``docs/`` become links to these pages, or plain text for other files.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / 'docs'
CARDS = sorted((ROOT / 'models').glob('*/MODEL_CARD.md'))
PAGES = {
    'index.md': 'README.md',
    'architecture.md': 'ARCHITECTURE.md',
    'contributing.md': 'CONTRIBUTING.md',
    'changelog.md': 'CHANGELOG.rst',
    'security.md': 'SECURITY.md',
    'quality.md': 'QUALITY_DECLARATION.md',
    'code-of-conduct.md': 'CODE_OF_CONDUCT.md',
    'examples.md': 'examples/README.md',
    **{f'model-{c.parent.name}.md': f'models/{c.parent.name}/{c.name}' for c in CARDS},
}
"""Page of the site → file of the repository."""

_LINK = re.compile(r'\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)')


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
        text = _markdown(text) if source.endswith('.rst') else text
        files.append(File.generated(config, page, content=_with_links(text, page, source)))
    for file in list(files):
        if file.src_uri not in PAGES and file.is_documentation_page():
            files.remove(file)
            text = _with_links(file.content_string, file.src_uri, f'docs/{file.src_uri}')
            text += _references(text) if file.src_uri == 'api.md' else ''
            files.append(File.generated(config, file.src_uri, content=text))
    return files


def _markdown(text: str) -> str:
    """The changelog, whose form is that of catkin_pkg.changelog, as Markdown."""
    text = re.sub(r'^\^+\n(.*)\n\^+$', r'# \1', text, flags=re.MULTILINE)
    text = re.sub(r'^(\S.*)\n-{3,}$', r'## \1\n', text, flags=re.MULTILINE)
    # Markdown nests lists by four spaces.
    text = re.sub(r'^ +', lambda indent: indent[0] * 2, text, flags=re.MULTILINE)
    return re.sub(r'``(\\ )?', '`', text).replace('\\_', '_').replace('\\*', '*')


def _references(text: str) -> str:
    """The docstring of every name in the first column of a page's tables."""
    names = re.findall(r'^\| `([\w.]+)`', text, re.MULTILINE)
    return ''.join(
        f'\n::: mt_perception.{name}\n'
        for name in sorted(names, key=lambda n: n.endswith('Error'))
    )


def _with_links(text: str, page: str, source: str) -> str:
    """Return a page with links that are valid in the site.

    Args:
        text: The text of the file.
        page: The page's path in the site.
        source: The file's path in the repository.
    """
    site = {f'docs/{path.relative_to(DOCS)}': str(path.relative_to(DOCS))
            for path in DOCS.rglob('*') if path.is_file()}  # fmt: skip
    site |= {file: name for name, file in PAGES.items()}

    def replaced(link: re.Match[str]) -> str:
        label, target, anchor = link[1], link[2], link[3] or ''
        if '://' in target:
            return link[0]
        file = os.path.normpath(os.path.join(os.path.dirname(source), target))
        if file in site:
            there = os.path.relpath(site[file], os.path.dirname(page) or '.')
            return f'[{label}]({there}{anchor})'
        # A file outside of the site: its name is all that the site has of it.
        return label

    return _LINK.sub(replaced, text)
