# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The shared-memory profile is used, unless the user has one; our files are found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ros_graph import DOMAIN_ID

from mt_perception import resources
from mt_perception.errors import ModelError
from mt_perception.nodes.shared_memory import (
    SEGMENTS,
    VARIABLES,
    profile_file,
    remove_stale_segments,
    use_shared_memory,
)
from mt_perception.resources import find_model, install_command, share_folder

SPACE = '{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}'


def test_the_profile_holds_whole_images() -> None:
    root = ElementTree.parse(profile_file()).getroot()
    kinds = {
        descriptor.findtext(f'{SPACE}transport_id'): descriptor.findtext(f'{SPACE}type')
        for descriptor in root.iter(f'{SPACE}transport_descriptor')
    }
    used = [e.text for e in root.iter(f'{SPACE}transport_id')][len(kinds) :]
    assert sorted(kinds.values()) == ['SHM', 'UDPv4'], 'other computers are reached by UDP'
    assert sorted(used) == sorted(kinds)
    assert int(next(root.iter(f'{SPACE}segment_size')).text) >= 16 << 20


def test_both_variables_are_set_where_there_is_none() -> None:
    environment: dict[str, str] = {}
    assert use_shared_memory(environment)
    assert environment == dict.fromkeys(VARIABLES, str(profile_file()))
    assert use_shared_memory(environment), 'again is no conflict'


@pytest.mark.parametrize('name', VARIABLES)
@pytest.mark.parametrize('value', ['/etc/mine.xml', ''])
def test_a_users_own_setting_wins(name: str, value: str) -> None:
    environment = {name: value}
    assert not use_shared_memory(environment)
    assert environment == {name: value}


LEAVES_A_SEGMENT = """
import os, sys
from mt_perception.nodes.standalone_node import StandaloneNode
ros = StandaloneNode('victim', int(sys.argv[1]))
print('ready', flush=True)
sys.stdin.read()
"""


def segments() -> set[str]:
    return {path.name for path in SEGMENTS.glob('fastrtps_[0-9a-f]*') if 'port' not in path.name}


def segments_of(pid: int) -> set[str]:
    """The segments of one process: others start and end beside this test."""
    process = Path('/proc') / str(pid)
    used = [line.split()[-1] for line in (process / 'maps').read_text().splitlines()]
    used += [os.readlink(link) for link in (process / 'fd').iterdir()]
    return {name for name in segments() if str(SEGMENTS / name) in used}


@pytest.mark.skipif(not SEGMENTS.is_dir(), reason='needs /dev/shm')
def test_segments_of_a_killed_process_are_removed_and_those_of_a_live_one_are_not() -> None:
    def start() -> tuple[subprocess.Popen[str], set[str]]:
        process = subprocess.Popen(
            [sys.executable, '-c', LEAVES_A_SEGMENT, str(DOMAIN_ID)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == 'ready\n'
        return process, segments_of(process.pid)

    alive, kept = start()
    killed, used = start()
    left = used - kept  # Processes of one domain open each other's segments.
    assert left
    killed.kill()
    killed.wait()
    # In a folder of its own: other processes of this computer start and end meanwhile.
    folder = Path(tempfile.mkdtemp(dir=SEGMENTS))
    try:
        for name in kept | left:
            (folder / name).hardlink_to(SEGMENTS / name)
        young = remove_stale_segments(folder)
        for path in folder.iterdir():
            os.utime(path, (1.0, 1.0))
        freed = remove_stale_segments(folder)
        remaining = {path.name for path in folder.iterdir()}
    finally:
        alive.kill()
        alive.wait()
        shutil.rmtree(folder)
        for name in kept | left:
            (SEGMENTS / name).unlink(missing_ok=True)
    assert young == 0
    assert kept <= remaining
    assert not left & remaining
    assert freed > 100_000


def test_in_a_checkout_files_are_those_of_the_checkout() -> None:
    assert (share_folder() / 'config' / 'mt_perception.params.yaml').is_file()


def test_installed_files_are_found_below_the_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / 'site-packages' / 'mt_perception' / 'resources.py'
    installed = tmp_path / 'overlay' / 'share' / 'mt_perception'
    (installed / 'models' / 'small').mkdir(parents=True)
    monkeypatch.setattr(resources, '__file__', str(elsewhere))
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'{tmp_path / "base"}:{tmp_path / "overlay"}')
    assert share_folder() == installed
    assert find_model('small') == installed / 'models' / 'small'


def test_a_model_is_a_name_or_a_path(tmp_path: Path) -> None:
    assert find_model('cspnano') == share_folder() / 'models' / 'cspnano'
    assert find_model(str(tmp_path)) == tmp_path
    for name in ('', 'unheard-of', str(tmp_path / 'missing')):
        with pytest.raises(ModelError, match='cspnano'):
            find_model(name)


def test_advice_names_packages_that_exist() -> None:
    """mt_perception itself is not on PyPI."""
    assert install_command('offload') == "pip install constriction 'tritonclient[grpc]'"
    both = install_command('offload', 'serve')
    assert both.count('constriction') == 1
    assert 'prometheus-client' in both
    assert 'mt_perception[' not in both
    assert 'setup.py' in install_command('no_such_extra')


def test_nothing_advises_a_package_that_does_not_exist() -> None:
    root = Path(resources.__file__).parent
    for file in (*root.rglob('*.py'), *(root.parent / 'lib').rglob('*')):
        if file.is_file():
            for line in file.read_text(errors='replace').splitlines():
                assert 'pip install "mt_perception' not in line, file
