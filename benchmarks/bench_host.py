# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A remote host under a hundred robots: errors, requests a second, fairness, memory, batches.

What the host can do is found first, by a few robots that always have a frame under way. Then
every robot has a connection of its own, and a frame rate and a deadline that fit: together they
ask for a share of what the host can do, and a frame may wait twice as long as a round of all
robots takes. A greedy one among them has as many under way as it may, which keeps the host at its
limit, and waits as long as it must. With --batches, the same number of robots ask hosts that make
batches of several sizes, one after the other, to see whether batches pay here.

Usage: python benchmarks/bench_host.py [--model cspnano] [--clients 100] [--seconds 60] [--batches]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from plain_client import Robot
from processes import resident_bytes, serving

from mt_perception.offload.protocol import MODEL_INFER, parse_response, serialize_request
from mt_perception.resources import find_model

SHARE = 0.8
"""Of what the host can do, what the modest robots ask for together."""
TRIAL_S = 5.0
TRIAL_ROBOTS = 4
PATIENCE_S = 60.0
GREEDY = 8
"""Requests that the greedy robot has under way; the host lets each have this many."""
SIZE = (320, 416)


@dataclass
class Tally:
    """What happened to one host."""

    period_s: float
    deadline_s: float
    answered: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latency_s: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default='cspnano')
    parser.add_argument('--clients', type=int, default=100)
    parser.add_argument('--seconds', type=float, default=60.0)
    parser.add_argument('--size', type=int, nargs=2, default=SIZE, help='height and width')
    parser.add_argument('--workers', type=int, default=1, help='of the host')
    parser.add_argument('--batches', action='store_true')
    arguments = parser.parse_args()
    folder = find_model(arguments.model)
    message, request = frame(folder, tuple(arguments.size))
    print(f'{arguments.clients} robots, {len(message)} bytes a frame, {folder.name}')
    for batch in (1, 2, 4, 8) if arguments.batches else (1,):
        tally = measured(folder, message, request, batch, arguments)
        report(tally, batch, arguments)


def frame(folder: Path, size: tuple[int, int]) -> tuple[bytes, object]:
    """One request: blurred noise, which is about as large as a real frame."""
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    pixels = cv2.blur(noise, (9, 9))
    robot = Robot('127.0.0.1:1', folder)
    payload = (
        robot.picture(pixels, '.jpg')
        if robot.half is None
        else robot.half.payload(pixels[None], robot.half.codec.rates - 1)
    )
    request = robot.request_of(payload, min_score=0.3, precision=1e-3)
    robot.close()
    return serialize_request(request), request


def measured(
    folder: Path, message: bytes, request: object, batch: int, arguments: argparse.Namespace
) -> Tally:
    """Run one host under load."""
    options = ['--workers', str(arguments.workers), '--batch', str(batch)]
    options += ['--waiting', '1000', '--per-client', str(GREEDY), '--batch-wait-ms', '2']
    with serving(folder, *options) as (port, pid):
        return asyncio.run(load(port, pid, message, request, arguments))


async def load(
    port: int, pid: int, message: bytes, request: object, arguments: argparse.Namespace
) -> Tally:
    """Send requests until the end, each robot on its own connection."""
    options = [('grpc.use_local_subchannel_pool', 1)]
    channels = [
        grpc.aio.insecure_channel(f'127.0.0.1:{port}', options) for _ in range(arguments.clients)
    ]
    most = await capacity([channel.unary_unary(MODEL_INFER) for channel in channels], message)
    round_s = arguments.clients / (SHARE * most)
    tally = Tally(round_s, 2 * round_s)
    print(
        f'the host can do {most:.1f} frames/s: each of {arguments.clients} robots sends one every '
        f'{tally.period_s:.2f} s, with a deadline of {tally.deadline_s:.2f} s'
    )
    end = time.monotonic() + arguments.seconds

    async def robot(number: int) -> None:
        infer = channels[number].unary_unary(MODEL_INFER)
        modest = number > 0
        # Their clocks are spread over a period.
        due = time.monotonic() + tally.period_s * number / arguments.clients if modest else 0.0
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            start = time.monotonic()
            if start >= end:
                break
            due += tally.period_s if modest else 0.0
            try:
                reply = await infer(message, timeout=tally.deadline_s if modest else PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                tally.errors[f'{error.code().name}: {error.details()}'] += 1
                await asyncio.sleep(0.1)
                continue
            tally.answered[number] += 1
            tally.latency_s.append(time.monotonic() - start)
            if tally.answered[number] == 1:
                parse_response(reply, request)

    async def watch() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(arguments.seconds / 20)
            tally.memory.append(resident_bytes(pid))

    robots = [robot(number) for number in range(arguments.clients)]
    await asyncio.gather(*robots, *(robot(0) for _ in range(GREEDY - 1)), watch())
    for channel in channels:
        await channel.close()
    return tally


async def capacity(infers: list[object], message: bytes) -> float:
    """Frames a second that a few robots get who always have one under way."""
    answered = 0
    end = time.monotonic() + TRIAL_S

    async def ask(infer: object) -> None:
        nonlocal answered
        while time.monotonic() < end:
            await infer(message, timeout=PATIENCE_S)
            answered += 1

    start = time.monotonic()
    await asyncio.gather(*(ask(infer) for infer in infers[:TRIAL_ROBOTS]))
    return answered / (time.monotonic() - start)


def report(tally: Tally, batch: int, arguments: argparse.Namespace) -> None:
    modest = [tally.answered[number] for number in range(1, arguments.clients)] or [0]
    asked = int(arguments.seconds / tally.period_s)
    latency_ms = np.quantile(tally.latency_s or [np.nan], [0.5, 0.99]) * 1e3
    # What the first fifth needs for its caches and pools is no leak.
    settled = tally.memory[len(tally.memory) // 5 :]
    print(
        f'batches of up to {batch}: {sum(tally.answered.values()) / arguments.seconds:.1f} '
        f'requests/s, errors {dict(tally.errors) or "none"}, latency p50 {latency_ms[0]:.0f} '
        f'p99 {latency_ms[1]:.0f} ms'
    )
    print(
        f'  answers of a modest robot {min(modest)} to {max(modest)} of {asked}, of the greedy '
        f'one {tally.answered[0]}; memory {settled[0] / 1e6:.1f} to {settled[-1] / 1e6:.1f} MB, '
        f'most {max(settled) / 1e6:.1f}'
    )
    print('  MB:', *(round(value / 1e6) for value in tally.memory))


if __name__ == '__main__':
    main()
