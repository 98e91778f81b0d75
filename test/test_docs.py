# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The documents agree with the code: tables, links, topics, commands, manifests, Python blocks."""

from __future__ import annotations

import importlib.util
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest

from mt_perception.data_files import parse_json, parse_yaml
from mt_perception.errors import ModelError
from mt_perception.model.manifest import build_manifest, parse_manifest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
PAGES = [
    *sorted(ROOT.glob('*.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
    *sorted((ROOT / 'examples').glob('*.md')),
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding='utf-8') for page in PAGES}
LINKS = [
    (page, target)
    for page, text in TEXTS.items()
    for target in re.findall(r'\]\(([^)#\s]+)', text)
    if '://' not in target
]
# Blocks of tutorials depend on earlier ones; test_tutorials runs them.
BLOCKS = {
    f'{page}:{text[: match.start()].count(chr(10)) + 1}': match.group(1)
    for page, text in TEXTS.items()
    if not page.startswith('docs/tutorials/')
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
    for document, tables in tool.tables().items():
        text = document.read_text(encoding='utf-8')
        assert tool.with_tables(document, tables) == text, 'run: python tools/generated_docs.py'


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
    assert len(README.splitlines()) <= 150


def test_the_moving_picture_is_small_and_moves() -> None:
    image = pytest.importorskip('PIL.Image', reason='pip install "mt_perception[test]"')
    file = ROOT / 'docs' / 'perception.webp'
    assert f'](docs/{file.name})' in README
    assert file.stat().st_size < 3e6
    assert image.open(file).n_frames > 20


@pytest.mark.parametrize('page', TEXTS)
def test_nothing_is_installed_that_no_registry_has(page: str) -> None:
    # The package is installed from a checkout, in which an extra is ".[eval]".
    extras = re.findall(
        r'mt_perception\[\w+\]', TEXTS[page].replace('src/mt_perception[test]', '')
    )
    assert extras == []


def test_a_row_of_a_table_is_one_line() -> None:
    for page in [*PAGES, *(ROOT / 'models').glob('*/*.md')]:
        blocks = page.read_text(encoding='utf-8').split('```')
        rows = [line for text in blocks[::2] for line in text.splitlines() if line[:1] == '|']
        assert [row for row in rows if not row.endswith('|')] == [], page


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = set(re.findall(r'([\w/-]+\.md)$', (ROOT / 'mkdocs.yml').read_text(), re.MULTILINE))
    pages = {str(page.relative_to(ROOT / 'docs')) for page in (ROOT / 'docs').rglob('*.md')}
    assert pages <= listed


def test_every_output_is_documented() -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    from mt_perception.nodes import topics as topics_of_the_node

    topics = {value for name, value in vars(topics_of_the_node).items() if name.endswith('_TOPIC')}
    rows = re.findall(r'^\| `(~/[^`]+)`', TEXTS['docs/topics.md'], re.MULTILINE)
    assert topics == set(rows)


def test_launch_files_that_are_named_exist() -> None:
    for text in TEXTS.values():
        for name in set(re.findall(r'\w+\.launch\.py', text)):
            folders = ('launch', 'examples/nav2')
            assert any((ROOT / folder / name).is_file() for folder in folders), name


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    for text in TEXTS.values():
        for target in set(re.findall(r'(?:^|`)make ([a-z-]+)', text, re.MULTILINE)):
            assert re.search(f'^{target}:', makefile, re.MULTILINE), target


def example_manifest() -> str:
    example = TEXTS['docs/models.md'].split('```yaml\n')[1].split('```')[0]
    return re.sub(r'sha256: \w+…', f'sha256: {"a" * 64}', example)


def test_the_example_manifest_is_read() -> None:
    manifest = parse_manifest(example_manifest())
    assert list(manifest.tasks) == ['detection']
    assert list(manifest.graph.blocks) == ['trunk', 'detection']


def schema() -> dict[str, Any]:
    text = (ROOT / 'docs' / 'manifest.schema.json').read_text(encoding='utf-8')
    return parse_json(text, 'the schema')


def test_the_json_schema_accepts_manifests() -> None:
    jsonschema = pytest.importorskip('jsonschema', reason='pip install "mt_perception[test]"')
    check = jsonschema.Draft202012Validator(schema())
    check.check_schema(schema())
    shipped = (ROOT / 'models').glob('*/manifest.yaml')
    for text in (example_manifest(), *(file.read_text(encoding='utf-8') for file in shipped)):
        manifest = parse_yaml(text, 'manifest')
        assert [error.message for error in check.iter_errors(manifest)] == []


def damaged(value: Any) -> Iterator[Any]:
    """Every copy of plain data with one value removed, added, or of another type."""
    if isinstance(value, dict):
        yield {**value, 'unknown field': 1}
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: other} for other in damaged(value[key]))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from ([*value[:index], o, *value[index + 1 :]] for o in damaged(item))
    else:
        yield {'another': 'type'}


def test_the_json_schema_refuses_no_manifest_that_the_package_reads() -> None:
    jsonschema = pytest.importorskip('jsonschema', reason='pip install "mt_perception[test]"')
    check = jsonschema.Draft202012Validator(schema())
    both = 0
    for data in damaged(parse_yaml(example_manifest(), 'manifest')):
        try:
            build_manifest(data)
        except ModelError:
            both += not check.is_valid(data)
        else:
            assert check.is_valid(data), [error.message for error in check.iter_errors(data)]
    # References between fields are all that a schema cannot check.
    assert both > 60
