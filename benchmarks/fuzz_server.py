# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fuzzes a remote host over its socket: damaged messages, damaged payloads, damaged HTTP/2.

A host is started as a process of its own. It has to answer everything with a status that names
the fault, to serve a sound request all along, to print no traceback, and to keep its memory.

Usage: python benchmarks/fuzz_server.py [--model FOLDER] [--minutes 1] [--seed 0]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import random
import socket
import time
from collections import Counter
from pathlib import Path

import grpc
from plain_client import Robot, image
from processes import resident_bytes, serving

from mt_perception.offload.protocol import MODEL_INFER, SERVICE, serialize_request
from mt_perception.resources import find_model

EXPECTED = {
    *('OK', 'INVALID_ARGUMENT', 'NOT_FOUND', 'UNIMPLEMENTED', 'RESOURCE_EXHAUSTED'),
    *('DEADLINE_EXCEEDED', 'CANCELLED'),
}
METHODS = ('ModelReady', 'ModelMetadata', 'ServerReady', 'ServerMetadata', 'ModelInfer', 'Nix')
CHECK_EVERY_S = 5.0
SOUND_TIMEOUT_S = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='cspnano', help='a small one is fuzzed faster')
    parser.add_argument('--minutes', type=float, default=1.0)
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    folder = find_model(arguments.model)
    with serving(folder, '--workers', '1') as (port, pid):
        statuses, memory = fuzz(pid, port, folder, arguments.minutes * 60, arguments.seed)
    unexpected = {name: n for name, n in statuses.items() if name not in EXPECTED}
    print(f'{sum(statuses.values())} attempts: {dict(statuses.most_common())}')
    print(f'memory of the host: {memory[0] / 1e6:.1f} MB, then {memory[-1] / 1e6:.1f} MB')
    if unexpected:
        raise SystemExit(f'UNEXPECTED: {unexpected}')


def fuzz(
    pid: int, port: int, folder: Path, seconds: float, seed: int
) -> tuple[Counter[str], list[int]]:
    """Statuses of all attempts, and the host's memory at the beginning and at the end."""
    rng = random.Random(seed)
    robot = Robot(f'127.0.0.1:{port}', folder)
    attempts = (damaged_message, damaged_payload, other_call, damaged_stream)
    statuses: Counter[str] = Counter()
    memory: list[int] = []
    end, check = time.monotonic() + seconds, 0.0
    while time.monotonic() < end:
        attempt = rng.choices(attempts, (4, 4, 1, 1))[0]
        statuses[attempt(rng, robot, port)] += 1
        if time.monotonic() > check:
            robot.ask(robot.request(image()), SOUND_TIMEOUT_S)
            check = time.monotonic() + CHECK_EVERY_S
            # What the first seconds need for their caches is no leak.
            memory = [*memory[:3], resident_bytes(pid)]
    return statuses, memory[-2:] if len(memory) > 3 else memory


def damaged(rng: random.Random, whole: bytes) -> bytes:
    """The same bytes, changed, cut or lengthened in a few places."""
    message = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(message) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            message[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del message[at : at + rng.choice((1, 4, 100))]
        elif kind == 2:
            message[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
        elif kind == 3:
            message[at : at + 9] = rng.choice((b'\xff' * 9 + b'\x01', b'\x00' * 9, b'\x7f' * 9))
        else:
            part = message[at : at + rng.choice((2, 20, 200))]
            message[at:at] = part * rng.choice((1, 2, 50))
    return bytes(message[: 1 << 21])


def sound(rng: random.Random, robot: Robot) -> object:
    pixels = image(rng.randrange(100), rng.choice([(64, 64), (32, 64), (16, 16)]))
    if robot.half is not None and rng.random() < 0.5:
        return robot.half.payload(pixels[None], rng.randrange(robot.half.codec.rates))
    return robot.picture(pixels, rng.choice(['.png', '.jpg', '.webp', '.bmp']))


def damaged_message(rng: random.Random, robot: Robot, port: int) -> str:
    fields = {
        'min_score': rng.choice((0.0, 0.5)),
        'precision': rng.choice((0.0, 1e-3, 0.03)),
        'compact': rng.random() < 0.5,
    }
    request = robot.request_of(sound(rng, robot), **fields)
    return status_of(robot, MODEL_INFER, damaged(rng, serialize_request(request)))


def damaged_payload(rng: random.Random, robot: Robot, port: int) -> str:
    """Its checksum is right, so that what is behind it has to look."""
    payload = sound(rng, robot)
    for _ in range(rng.choice((1, 1, 2))):
        match rng.randrange(5):
            case 0:
                payload = dataclasses.replace(payload, rate=rng.randrange(256))
            case 1:
                shape = tuple(rng.choice((1, 3, 4, 8, 64, 500, 65535)) for _ in range(3))
                payload = dataclasses.replace(payload, shape=shape)
            case 2:
                payload = dataclasses.replace(payload, kind=rng.randrange(3))
            case 3:
                body = rng.randbytes(4 * rng.randrange(100))
                payload = dataclasses.replace(payload, body=body)
            case _:
                payload = dataclasses.replace(payload, body=damaged(rng, payload.body))
    if len(payload.body) > 1 << 19:
        payload = dataclasses.replace(payload, body=payload.body[: 1 << 19])
    request = robot.request_of(dataclasses.replace(payload))
    return status_of(robot, MODEL_INFER, serialize_request(request))


def other_call(rng: random.Random, robot: Robot, port: int) -> str:
    message = damaged(rng, b'\x0a\x07cspnano\x12\x051.0.0')
    return status_of(robot, f'/{SERVICE}/{rng.choice(METHODS)}', message)


def damaged_stream(rng: random.Random, robot: Robot, port: int) -> str:
    """Frames of HTTP/2 that no client would send."""
    frames = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
    for _ in range(rng.randrange(8)):
        body = rng.randbytes(rng.choice((0, 1, 8, 100)))
        size = len(body) if rng.random() < 0.8 else rng.randrange(1 << 24)
        frames += size.to_bytes(3, 'big') + bytes([rng.randrange(11), rng.randrange(256)])
        frames += rng.choice((0, 1, 3, rng.randrange(1 << 31))).to_bytes(4, 'big') + body
    with (
        contextlib.suppress(OSError),
        socket.create_connection(('127.0.0.1', port), timeout=0.2) as connection,
    ):
        connection.sendall(damaged(rng, frames) if rng.random() < 0.5 else frames)
        connection.settimeout(0.02)
        connection.recv(4096)
    return 'CANCELLED'


def status_of(robot: Robot, method: str, message: bytes) -> str:
    try:
        robot.channel.unary_unary(method)(message, timeout=SOUND_TIMEOUT_S)
    except grpc.RpcError as error:
        return str(error.code().name)
    return 'OK'


if __name__ == '__main__':
    main()
