# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The systemd unit: what it starts exists, and its stop signal ends a node at once."""

from __future__ import annotations

import configparser
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2')

from ros_graph import DOMAIN_ID
from tiny_model import write_tiny_model

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / 'deploy' / 'systemd' / 'mt_perception.service'
HOST = UNIT.with_name('mt_perception_host.service')


def service(unit: Path = UNIT) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser['Service']


def test_the_unit_launches_what_exists() -> None:
    shell, option, script = shlex.split(service()['ExecStart'])
    assert (shell, option) == ('/bin/bash', '-c')
    # Without exec the shell, not launch, would receive the signal.
    *_, last = script.split('&&')
    words = last.split()
    assert words[:4] == ['exec', 'ros2', 'launch', 'mt_perception']
    text = (ROOT / 'launch' / words[4]).read_text()
    source = (ROOT / 'mt_perception' / 'nodes' / 'launch_arguments.py').read_text()
    for word in words[5:]:
        name, separator, value = word.partition(':=')
        assert separator
        assert value
        assert f"'{name}'" in text + source


def test_the_unit_of_the_host_has_valid_options() -> None:
    from mt_perception.cli.serve import serve

    program, command, *words = shlex.split(service(HOST)['ExecStart'])
    assert (Path(program).name, command) == ('mt_perception', 'serve')
    # The files are credentials, which exist while the unit runs.
    given = [str(HOST) if 'CREDENTIALS' in word else word for word in words]
    context = serve.make_context('serve', given)
    assert context.params['host'] == '0.0.0.0'
    assert float(service(HOST)['TimeoutStopSec']) > context.params['drain_s']


def test_its_stop_signal_ends_every_process_of_the_group_in_time(tmp_path: Path) -> None:
    """As systemd does: the signal goes to the shell's successor and to its children at once."""
    unit = service()
    number = signal.Signals[unit['KillSignal']]
    assert unit['KillMode'] == 'control-group'
    node = ROOT / 'lib' / 'mt_perception' / 'perception'
    model = write_tiny_model(tmp_path / 'tiny')
    # A parent that forwards the signal, as launch does: the node receives it twice.
    parent = (
        'import signal, subprocess, sys\n'
        'child = subprocess.Popen(sys.argv[1:])\n'
        'signal.signal(signal.SIGINT, lambda n, f: child.send_signal(n))\n'
        'sys.exit(child.wait())\n'
    )
    started = subprocess.Popen(
        [
            sys.executable,
            '-c',
            parent,
            sys.executable,
            str(node),
            '--ros-args',
            '-p',
            f'model:={model}',
        ],
        env={**os.environ, 'ROS_DOMAIN_ID': str(DOMAIN_ID), 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert started.stdout is not None
        for line in started.stdout:
            if 'subscribed to' in line:
                break
        os.killpg(started.pid, number)
        assert started.wait(float(unit['TimeoutStopSec'])) == 0
        assert started.stdout.read() == ''
        with pytest.raises(ProcessLookupError):
            os.killpg(started.pid, 0)
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
