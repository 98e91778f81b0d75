# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Many clients, greedy clients, slow clients, and clients without a token (rows 64, 65, 70)."""

from __future__ import annotations

import gc
import socket
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
from hosts import GatedBackend, eventually, never_sent, running_host
from plain_client import PATIENCE_S, Robot, image, robot

from mt_perception.errors import OffloadError, OptionError
from mt_perception.offload.protocol import MODEL_INFER, serialize_request
from mt_perception.server import authentication
from mt_perception.server.address import Address
from mt_perception.server.authentication import Tokens, read_tokens
from mt_perception.server.host import HostSettings
from mt_perception.server.limits import HostLimits

Code = grpc.StatusCode
TOKEN, OTHER = 'a' * 32, 'b' * 32


def test_a_hundred_clients_are_all_served(folder: Path) -> None:
    with running_host(folder) as running, robot(running.target, folder) as first:
        message = serialize_request(first.request(image()))

        def three_times(number: int) -> int:
            options = [('grpc.use_local_subchannel_pool', 1)]
            with grpc.insecure_channel(running.target, options) as channel:
                infer = channel.unary_unary(MODEL_INFER)
                return sum(bool(infer(message, timeout=PATIENCE_S)) for _ in range(3))

        with ThreadPoolExecutor(100) as pool:
            assert list(pool.map(three_times, range(100))) == [3] * 100
        assert running.outcomes() == {'OK': 300}


def test_requests_leave_no_memory_behind(folder: Path) -> None:
    """An iterator that is half read is kept for ever by gRPC 1.85, with the request in it."""
    noise = np.random.default_rng(0).integers(0, 255, (256, 256, 3), np.uint8)
    with running_host(folder) as running, robot(running.target, folder) as client:
        wanted = ('detection/scores',)
        sound = serialize_request(client.request_of(client.picture(noise), tensors=wanted))
        refused = serialize_request(client.request_of(client.picture(noise), tensors=('x',)))

        def ask(times: int) -> None:
            for _ in range(times):
                client.send(sound)
                client.refused(refused)

        ask(5)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        ask(20)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 3 * len(sound)


def test_a_greedy_client_meets_its_cap_and_delays_others_by_one_frame(folder: Path) -> None:
    backend = GatedBackend.loaded(folder)
    limits = HostLimits(per_client=3)
    with (
        running_host(folder, backend, limits=limits) as running,
        robot(running.target, folder) as greedy,
        robot(running.target, folder) as modest,
    ):

        def begin(client: Robot, name: str) -> Any:
            return client.infer.future(serialize_request(client.request(image(), request_id=name)))

        calls = [begin(greedy, 'greedy 0')]
        assert backend.started.wait(PATIENCE_S)
        for i in (1, 2):
            calls.append(begin(greedy, f'greedy {i}'))
            assert eventually(lambda n=i: running.host.waiting == n)
        status, sentence = greedy.refused(greedy.request(image()))
        assert status == Code.RESOURCE_EXHAUSTED
        assert 'this client has 3 requests' in sentence
        calls.append(begin(modest, 'modest'))
        assert eventually(lambda: running.host.waiting == 3)
        backend.may_run.set()
        for call in calls:
            call.result()
        assert [names[0] for names in backend.ran].index('modest') <= 2
        assert greedy.ask(greedy.request(image())).tensors


def test_the_queue_of_all_has_an_end(folder: Path) -> None:
    backend = GatedBackend.loaded(folder)
    with running_host(folder, backend, limits=HostLimits(waiting=1)) as running:
        robots = [Robot(running.target, folder) for _ in range(3)]
        first = robots[0].infer.future(serialize_request(robots[0].request(image())))
        assert backend.started.wait(PATIENCE_S)
        second = robots[1].infer.future(serialize_request(robots[1].request(image())))
        assert eventually(lambda: running.host.waiting == 1)
        status, sentence = robots[2].refused(robots[2].request(image()))
        assert (status, 'requests are queued' in sentence) == (Code.RESOURCE_EXHAUSTED, True)
        backend.may_run.set()
        assert first.result()
        assert second.result()
        for client in robots:
            client.close()


def test_a_request_that_never_comes_is_given_up(folder: Path) -> None:
    with (
        running_host(folder, limits=HostLimits(request_s=0.2)) as running,
        robot(running.target, folder) as client,
    ):
        status, sentence = never_sent(client, MODEL_INFER)
        assert status == Code.DEADLINE_EXCEEDED
        assert sentence == 'the request was not complete after 0.2 s'
        assert client.ask(client.request(image())).tensors


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    """A frame of HTTP/2 (RFC 9113, section 4.1)."""
    return struct.pack('>I', len(body))[1:] + struct.pack('>BBI', kind, flags, stream) + body


def header(name: str, value: str) -> bytes:
    """A literal header field without indexing (RFC 7541, section 6.2.2)."""
    return b'\x00' + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def test_half_a_message_is_given_up(folder: Path) -> None:
    """A slow loris: it says that a kilobyte comes and sends a byte of it."""
    with (
        running_host(folder, limits=HostLimits(request_s=0.3)) as running,
        socket.create_connection(('127.0.0.1', running.host.port)) as loris,
        robot(running.target, folder) as client,
    ):
        headers = b''.join(
            header(*field)
            for field in (
                (':method', 'POST'),
                (':scheme', 'http'),
                (':path', MODEL_INFER),
                (':authority', 'loris'),
                ('te', 'trailers'),
                ('content-type', 'application/grpc'),
            )
        )
        loris.sendall(
            b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
            + frame(4, 0, 0, b'')
            + frame(1, 4, 1, headers)
            + frame(0, 0, 1, b'\x00' + struct.pack('>I', 1024) + b'x')
        )
        assert eventually(lambda: running.outcomes().get('DEADLINE_EXCEEDED') == 1)
        assert client.ask(client.request(image())).tensors


@pytest.mark.parametrize('said', [b'', b'PRI * HTTP/2.0\r\n', b'GET / HTTP/1.1\r\n\r\n'])
def test_half_open_connections_are_closed(said: bytes, folder: Path) -> None:
    with (
        running_host(folder, limits=HostLimits(request_s=0.3)) as running,
        socket.create_connection(('127.0.0.1', running.host.port)) as loris,
        robot(running.target, folder) as client,
    ):
        loris.sendall(said)
        loris.settimeout(PATIENCE_S)
        try:
            while loris.recv(4096):
                pass
        except ConnectionResetError:
            pass
        assert client.ask(client.request(image())).tensors


def test_only_who_has_a_token_is_served(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / 'tokens'
    file.write_text(f'# of the fleet\nscout {TOKEN}\n\n{OTHER}\n')
    file.chmod(0o600)
    with running_host(folder, token_file=file) as running:
        for token in (TOKEN, OTHER):
            with robot(running.target, folder, token=token) as client:
                assert client.ask(client.request(image())).tensors
        for token in ('', 'c' * 32, TOKEN[:-1], TOKEN + 'a', 'tök'):
            with robot(running.target, folder) as client:
                if token:
                    client.metadata = [('authorization-bin', token.encode())]
                    if token.isascii():
                        client.metadata = [('authorization', f'Bearer {token}')]
                status, sentence = client.refused(client.request(image()))
                assert status == Code.UNAUTHENTICATED
                assert 'the token is missing or unknown' in sentence
                assert TOKEN not in sentence


def test_robots_with_tokens_of_their_own_share_by_name(folder: Path, tmp_path: Path) -> None:
    """Many connections do not make a robot many."""
    file = tmp_path / 'tokens'
    file.write_text(f'scout {TOKEN}')
    file.chmod(0o600)
    backend = GatedBackend.loaded(folder)
    limits = HostLimits(per_client=1)
    with running_host(folder, backend, limits=limits, token_file=file) as running:
        robots = [Robot(running.target, folder, token=TOKEN) for _ in range(2)]
        message = serialize_request(robots[0].request(image()))
        first = robots[0].infer.future(message, metadata=robots[0].metadata)
        assert backend.started.wait(PATIENCE_S)
        assert robots[1].refused(message)[0] == Code.RESOURCE_EXHAUSTED
        backend.may_run.set()
        assert first.result()
        for client in robots:
            client.close()


def test_token_files_are_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / 'tokens'
    with pytest.raises(OffloadError, match='is missing'):
        read_tokens(file)
    for text, sentence in (
        ('', 'has no token'),
        ('short', 'line 1: expected'),
        (f'{TOKEN}\na b {TOKEN}', 'line 2: expected'),
        ('ü' * 32, 'line 1: expected'),
    ):
        file.write_text(text)
        file.chmod(0o600)
        with pytest.raises(OffloadError, match=sentence):
            read_tokens(file)
    file.write_text(TOKEN)
    file.chmod(0o644)
    with pytest.raises(OffloadError, match='chmod 600'):
        read_tokens(file)


def test_tokens_belong_to_names() -> None:
    tokens = Tokens({TOKEN: 'scout', OTHER: ''})
    assert tokens.client(f'Bearer {TOKEN}') == 'scout'
    assert tokens.client(f'bearer {OTHER}') == ''
    for wrong in ('', 'Bearer', 'Bearer ', TOKEN, f'Basic {TOKEN}', 'Bearer \udcff'):
        assert tokens.client(wrong) is None


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every token is compared in full, also behind the one that matches."""
    compared: list[bytes] = []

    def digest(known: bytes, sent: bytes) -> bool:
        compared.append(known)
        return known == sent

    monkeypatch.setattr(authentication.hmac, 'compare_digest', digest)
    tokens = Tokens({TOKEN: 'scout', OTHER: 'other'})
    for sent in (TOKEN, OTHER, 'c' * 32):
        compared.clear()
        tokens.client(f'Bearer {sent}')
        assert compared == [TOKEN.encode(), OTHER.encode()]


def test_nothing_beyond_this_machine_can_connect_by_default(folder: Path) -> None:
    assert Address().host == '127.0.0.1'
    assert Address().metrics_host == '127.0.0.1'
    assert HostSettings(folder).warnings() == []
    with running_host(folder) as running:
        port = f'{running.host.port:04X}'
        listening = [
            line.split()[1]
            for table in ('tcp', 'tcp6')
            for line in Path('/proc/net', table).read_text().splitlines()[1:]
            if line.split()[1].endswith(f':{port}') and line.split()[3] == '0A'
        ]
        assert listening
        # 127.0.0.1, or the same as an address of IPv6.
        assert {place.split(':')[0][-8:] for place in listening} == {'0100007F'}


def test_an_open_host_is_warned_about(folder: Path) -> None:
    (plain, everybody) = HostSettings(folder, address=Address('0.0.0.0')).warnings()
    assert 'without TLS' in plain
    assert 'every client is accepted' in everybody


@pytest.mark.parametrize('name', ['batch', 'per_client', 'waiting', 'request_s', 'answer_s'])
def test_limits_are_checked(name: str) -> None:
    with pytest.raises(OptionError, match=f'{name} must be in'):
        HostLimits(**{name: 0})
