# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the README says is so: generated tables, links, files, topics, the example manifest."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from mt_perception.model.manifest import parse_manifest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def test_generated_tables_are_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location('tables', ROOT / 'tools' / 'generated_docs.py')
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    assert tables.with_tables(README) == README, 'run: python tools/generated_docs.py'


@pytest.mark.parametrize('target', re.findall(r'\]\(([^)#]+)\)', README))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()


def test_every_output_is_documented() -> None:
    pytest.importorskip('rclpy', reason='needs ROS 2')
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    from mt_perception.nodes import publishers

    topics = {value for name, value in vars(publishers).items() if name.endswith('_TOPIC')}
    assert topics == set(re.findall(r'^\| `(~/[^`]+)`', README, re.MULTILINE))


def test_launch_files_that_are_named_exist() -> None:
    for name in set(re.findall(r'\w+\.launch\.py', README)):
        assert (ROOT / 'launch' / name).is_file(), name


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
    for target in set(re.findall(r'`?make ([a-z-]+)', README)):
        assert re.search(f'^{target}:', makefile, re.MULTILINE), target


def test_the_example_manifest_is_read() -> None:
    example = README.split('```yaml\n')[1].split('```')[0]
    example = re.sub(r'sha256: \w+…', f'sha256: {"a" * 64}', example)
    manifest = parse_manifest(example)
    assert list(manifest.tasks) == ['detection']
    assert list(manifest.graph.blocks) == ['trunk', 'detection']
