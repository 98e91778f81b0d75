# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Commands whose frames a remote host finishes."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hosts import GatedBackend, running_host
from tiny_cut import write_tiny_cut

from mt_perception.cli import shared_options
from mt_perception.cli.main import main
from mt_perception.evaluation.records import SUMMARY_FILE
from mt_perception.offload import inference_client


@pytest.fixture
def images(tmp_path: Path) -> Path:
    place = tmp_path / 'images'
    place.mkdir()
    for i in range(4):
        image = np.full((96, 128, 3), 128, np.uint8)
        image[32:64, 48:80] = 0, 0, 255
        cv2.imwrite(str(place / f'{i}.png'), image)
    return place


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_run_with_a_remote_host(
    folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    command = ['run', str(images), '--model', str(folder), '--out', str(out), '--jsonl']
    with running_host(folder) as host:
        slow = ['--offload', host.target, '--offload-deadline-ms', '20000']
        assert main([*command, *slow]) == 0
    remote = [record['extra']['offload.remote'] for record in lines(out / 'frames.jsonl')]
    # The first one shows how long a local run takes.
    assert remote == [False, True, True, True]
    assert '3 frames were finished by' in capsys.readouterr().out


def test_a_host_that_is_loading_is_waited_for_and_said(
    folder: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shared_options, '_CONNECT_S', 0.5)
    monkeypatch.setattr(shared_options, '_LOADING_S', 0.5)
    backend = GatedBackend(folder)
    backend.may_run.set()
    command = ['run', str(images), '--model', str(folder), '--out', str(tmp_path / 'out')]
    with running_host(folder, backend, wait_ready=False) as host:
        command += ['--offload', host.target, '--offload-deadline-ms', '20000']
        assert main(command) == 1
        printed = capsys.readouterr().err
        assert 'is not ready: the model is still being loaded; waiting up to' in printed
        monkeypatch.setattr(shared_options, '_LOADING_S', 30.0)
        loading = threading.Timer(1.0, backend.may_load.set)
        loading.start()
        assert main(command) == 0
        loading.join()
    assert '3 frames were finished by' in capsys.readouterr().out


def test_a_host_that_accepts_connections_and_says_nothing(
    folder: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shared_options, '_CONNECT_S', 1.0)
    monkeypatch.setattr(inference_client, '_PING_TIMEOUT_S', 0.2)
    command = ['run', str(images), '--model', str(folder), '--out', str(tmp_path / 'out')]
    with socket.create_server(('127.0.0.1', 0)) as silent:
        assert main([*command, '--offload', f'127.0.0.1:{silent.getsockname()[1]}']) == 1
    printed = ' '.join(capsys.readouterr().err.split())
    # gRPC or the ping gives up first.
    ping = 'no answer to a ping within 0.2 s; the host is loading'
    assert re.search(f'{ping}|accepts connections and does not answer', printed)


def test_a_host_with_another_model_is_not_waited_for(
    folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_tiny_cut(tmp_path / 'other', edit=lambda manifest: manifest.update(name='other'))
    command = ['run', str(images), '--model', str(other), '--out', str(tmp_path / 'out')]
    with running_host(folder) as host:
        assert main([*command, '--offload', host.target]) == 1
    printed = ' '.join(capsys.readouterr().err.split())
    assert 'the host serves another model or version (this host serves tiny' in printed
    assert 'waiting' not in printed


def test_a_host_that_is_not_there_is_an_error_and_not_a_silent_local_run(
    folder: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_host(folder) as host:
        target = host.target
    command = ['run', str(images), '--model', str(folder), '--out', str(tmp_path / 'out')]
    assert main([*command, '--offload', target]) == 1
    assert 'mt_perception serve' in capsys.readouterr().err


def test_evaluate_with_a_remote_host(folder: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    command = ['evaluate', str(images), '--model', str(folder), '--out', str(out), '--no-report']
    with running_host(folder) as host:
        assert main([*command, '--offload', host.target]) == 0
    (summary,) = out.rglob(SUMMARY_FILE)
    assert json.loads(summary.read_text())['parameters']['offload'] == host.target
    remote = [r['extra']['offload.remote'] for r in lines(summary.parent / 'frames.jsonl')]
    assert remote.count(True) == 3


def test_jobs_side_by_side_do_not_offload(folder: Path, images: Path, tmp_path: Path) -> None:
    command = ['evaluate', str(images), '--model', str(folder), '--out', str(tmp_path / 'out')]
    assert main([*command, '--workers', '2', '--offload', 'localhost:1']) == 2
