# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The documents agree with the code: tables, links, topics, commands, manifests, Python blocks."""

from __future__ import annotations

import importlib.util
import re
import runpy
from pathlib import Path
from types import ModuleType

import cv2
import pytest

from mt_perception.model.manifest import parse_manifest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
PAGES = [
    *sorted(ROOT.glob('*.md')),
    *sorted((ROOT / 'docs').glob('*.md')),
    *sorted((ROOT / 'examples').glob('*.md')),
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding='utf-8') for page in PAGES}
LINKS = [
    (page, target)
    for page, text in TEXTS.items()
    for target in re.findall(r'\]\(([^)#\s]+)', text)
    if '://' not in target
]
BLOCKS = {
    f'{page}:{text[: match.start()].count(chr(10)) + 1}': match.group(1)
    for page, text in TEXTS.items()
    for match in re.finditer(r'^```python\n(.*?)^```', text, re.DOTALL | re.MULTILINE)
}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location('tables', ROOT / 'tools' / 'generated_docs.py')
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_tables_are_up_to_date() -> None:
    tool = generator()
    for document in tool.tables():
        text = document.read_text(encoding='utf-8')
        assert tool.with_tables(document) == text, 'run: python tools/generated_docs.py'


@pytest.mark.parametrize(('page', 'target'), LINKS)
def test_links_lead_somewhere(page: str, target: str) -> None:
    assert ((ROOT / page).parent / target).exists()


@pytest.mark.parametrize('name', BLOCKS)
def test_python_blocks_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    # A block runs in a folder with the files that the documents name.
    picture = cv2.imread(str(ROOT / 'docs' / 'picture.jpg'))
    cv2.imwrite(str(tmp_path / 'street.jpg'), picture[: picture.shape[0] // 2])
    if 'film.mp4' in BLOCKS[name]:
        data: Path = request.getfixturevalue('data')
        (tmp_path / 'film.mp4').symlink_to(data / 'video' / 'bikes.mp4')
    file = tmp_path / 'block.py'
    file.write_text(BLOCKS[name], encoding='utf-8')
    monkeypatch.chdir(tmp_path)
    try:
        runpy.run_path(str(file), run_name='__main__')
    except ModuleNotFoundError as error:
        if str(error.name).startswith('mt_perception'):
            raise
        pytest.skip(f'needs {error.name}')


def test_the_readme_has_python_and_is_short() -> None:
    assert any(name.startswith('README.md') for name in BLOCKS)
    assert len(README.splitlines()) <= 200


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = set(re.findall(r'([\w-]+\.md)$', (ROOT / 'mkdocs.yml').read_text(), re.MULTILINE))
    assert {page.name for page in (ROOT / 'docs').glob('*.md')} <= listed


def test_every_output_is_documented() -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    from mt_perception.nodes import publishers

    topics = {value for name, value in vars(publishers).items() if name.endswith('_TOPIC')}
    assert topics == set(re.findall(r'^\| `(~/[^`]+)`', README, re.MULTILINE))


def test_launch_files_that_are_named_exist() -> None:
    for text in TEXTS.values():
        for name in set(re.findall(r'\w+\.launch\.py', text)):
            assert (ROOT / 'launch' / name).is_file(), name


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    for text in TEXTS.values():
        for target in set(re.findall(r'(?:^|`)make ([a-z-]+)', text, re.MULTILINE)):
            assert re.search(f'^{target}:', makefile, re.MULTILINE), target


def test_the_example_manifest_is_read() -> None:
    example = TEXTS['docs/models.md'].split('```yaml\n')[1].split('```')[0]
    example = re.sub(r'sha256: \w+…', f'sha256: {"a" * 64}', example)
    manifest = parse_manifest(example)
    assert list(manifest.tasks) == ['detection']
    assert list(manifest.graph.blocks) == ['trunk', 'detection']
