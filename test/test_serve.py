# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception serve`` as a process: it says where it is, it drains, and it ends cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
from click.testing import CliRunner
from hosts import GatedBackend, eventually, load, running_host
from plain_client import PATIENCE_S, image, robot

from mt_perception.cli.main import main
from mt_perception.cli.serve import serve
from mt_perception.errors import OffloadError
from mt_perception.offload.protocol import serialize_request
from mt_perception.server.address import Address
from mt_perception.server.host import HostSettings, RemoteHost

Code = grpc.StatusCode
ROOT = Path(__file__).resolve().parent.parent
PROGRAM = 'import sys; from mt_perception.cli.main import main; sys.exit(main())'


@contextlib.contextmanager
def serving(
    folder: Path, *options: str, program: str = PROGRAM
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and where it listens."""
    command = [sys.executable, '-u', '-c', program, 'serve', '--model', str(folder)]
    process = subprocess.Popen(
        [*command, '--port', '0', '--workers', '1', *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = ''
        for line in process.stdout:
            said += line
            if found := re.search(r'ready: tiny 1 at (\S+)', said):
                break
        else:
            raise AssertionError(said)
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return int(probe.getsockname()[1])


def test_it_serves_and_tells_prometheus(folder: Path) -> None:
    port = free_port()
    with serving(folder, '--metrics-port', str(port)) as (process, target):
        with robot(target, folder) as client:
            for _ in range(3):
                assert client.ask(client.request(image())).tensors
            client.refused(client.request(image(), model='big'))
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=10) as page:
            text = page.read().decode()
        for sample in (
            'mt_perception_host_requests_total{outcome="OK"} 3.0',
            'mt_perception_host_requests_total{outcome="NOT_FOUND"} 1.0',
            'mt_perception_host_seconds_count{stage="compute"} 3.0',
            'mt_perception_host_batch_size_count 3.0',
            'mt_perception_host_waiting 0.0',
            'mt_perception_host_clients 0.0',
        ):
            assert sample in text
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_sigterm_under_load_ends_with_refusals_alone(folder: Path) -> None:
    """Row 68 of the faults: nobody is left waiting, and nobody gets half an answer."""
    with serving(folder) as (process, target):
        with load(target, folder) as statuses:
            assert eventually(lambda: len(statuses) > 50)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0
        first = next(i for i, status in enumerate(statuses) if status != Code.OK)
        assert first > 50
        # What arrives in the very last moment is cancelled by gRPC, before we see it: how much, is
        # up to how often robots ask again. By then all that we have seen is finished: each of the
        # four robots may still read one answer.
        assert set(statuses) <= {Code.OK, Code.UNAVAILABLE, Code.CANCELLED}
        if Code.CANCELLED in statuses:
            assert statuses[statuses.index(Code.CANCELLED) :].count(Code.OK) <= 4


def test_a_second_host_cannot_share_the_port(folder: Path) -> None:
    """With port sharing it would start, and get half of the requests."""

    async def listen(port: int) -> None:
        host = RemoteHost(HostSettings(folder, Address(port=port), workers=1, drain_s=0.0))
        try:
            await host.listen()
        finally:
            await host.stop()

    with (
        running_host(folder) as running,
        pytest.raises(OffloadError, match='the port is in use'),
    ):
        asyncio.run(listen(running.host.port))


def test_what_is_here_is_finished_and_what_comes_is_refused(folder: Path) -> None:
    backend = GatedBackend.loaded(folder)
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(running_host(folder, backend))
        with robot(running.target, folder) as client:
            first = client.infer.future(serialize_request(client.request(image())))
            assert backend.started.wait(PATIENCE_S)
            stopping = threading.Thread(target=stack.pop_all().close)
            stopping.start()
            assert eventually(
                lambda: client.refused(client.request(image()), timeout=1)[0] == Code.UNAVAILABLE
            )
            # Longer than the second that gRPC gets for the last responses: this is the drain.
            time.sleep(1.5)
            assert not first.done()
            assert stopping.is_alive()
            backend.may_run.set()
            assert first.result(PATIENCE_S)
            stopping.join(PATIENCE_S)
            assert not stopping.is_alive()


def test_a_port_that_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(['serve', '--model', str(folder), '--port', port]) == 1
        assert 'the port is in use' in capsys.readouterr().err
        arguments = ['serve', '--model', str(folder), '--port', '0', '--metrics-port', port]
        assert main(arguments) == 1
        assert 'metrics cannot be served' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--model', 'nix'], "model 'nix' is neither a folder nor installed"),
        (['--tls-cert', 'a.pem'], 'both --tls-cert and --tls-key'),
        (['--client-ca', 'a.pem'], 'both --tls-cert and --tls-key'),
        (['--token-file', 'nix'], 'nix is missing'),
        (['--batch', '0'], 'batch must be in'),
    ],
)
def test_usage(
    arguments: list[str], sentence: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['serve', '--model', str(folder), '--port', '0', *arguments]) == 1
    assert sentence in ' '.join(capsys.readouterr().err.split())


def test_help_says_how_to_begin() -> None:
    found = CliRunner().invoke(serve, ['--help'])
    assert found.exit_code == 0
    assert 'mt_perception serve --host 0.0.0.0 --tls-cert' in found.output
