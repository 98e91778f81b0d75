# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What several tests need: the real data, the shipped model, and the kinds of tests."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from ros_graph import RosGraph

# A busy machine makes no test wrong.
settings.register_profile('house', deadline=None)
settings.load_profile('house')

ROOT = Path(__file__).resolve().parent.parent
ONE_WORKER = re.compile(
    r'test_(interfaces|packaging|report|report_offload|network_.*|training_.*)\.py'
)
"""Files with fixtures of many seconds, which one of pytest's workers makes for all their tests."""
FAULTS = re.compile(r'fault|hang|limits|breaker|tls|credentials|validation|inflate|damage')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its kind; CONTRIBUTING.md has the map.

    property: hypothesis draws its input. system: its file starts nodes, hosts or programs.
    fault: its file damages files, links or hosts. unit: all others.
    xdist_group: its file runs in one worker.
    """
    texts: dict[Path, str] = {}
    for item in items:
        text = texts.setdefault(item.path, item.path.read_text(encoding='utf-8'))
        kinds = set()
        if getattr(getattr(item, 'obj', None), 'is_hypothesis_test', False):
            kinds.add('property')
        if re.search(r'ros_graph|from hosts|subprocess\.(run|Popen)', text):
            kinds.add('system')
        if FAULTS.search(item.path.name):
            kinds.add('fault')
        for kind in kinds or {'unit'}:
            item.add_marker(kind)
        if ONE_WORKER.fullmatch(item.path.name):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope='session')
def data() -> Path:
    """The folder of real data; the test is skipped on a machine without it."""
    folder = Path(os.environ.get('MT_PERCEPTION_DATA', ROOT.parent / 'shared' / 'data'))
    if not (folder / 'README.md').is_file():
        pytest.skip(f'no real data at {folder}; set MT_PERCEPTION_DATA to a folder that has it')
    return folder


@pytest.fixture(scope='session')
def model_path() -> Path:
    """The model folder that we ship."""
    return ROOT / 'models' / 'cspnano'


@pytest.fixture(scope='session')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with the smallest network of three tasks."""
    from tiny_model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp('tiny'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with the smallest network that can be cut, one for each file of tests."""
    from tiny_cut import write_tiny_cut

    return write_tiny_cut(tmp_path_factory.mktemp('model') / 'tiny')


@pytest.fixture
def graph() -> Iterator[RosGraph]:
    """A ROS graph of its own."""
    from ros_graph import ros_graph

    with ros_graph() as made:
        yield made


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Networks of a test begin with the same random weights in every run."""
    torch = sys.modules.get('torch')
    if torch is not None:
        torch.manual_seed(0)
