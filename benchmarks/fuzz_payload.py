# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Throws bytes at payloads, codec and compact responses: nothing but ProtocolError may come out.

python benchmarks/fuzz_payload.py models/cspnano --minutes 10
"""

from __future__ import annotations

import random
import resource
import struct
import time
import zlib
from collections import Counter
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from mt_perception.errors import PayloadError, ProtocolError
from mt_perception.offload.compact_response import (
    CompactResponse,
    pack_response,
    unpack_response,
)
from mt_perception.offload.payload import pack, unpack
from mt_perception.offload.split_model import RemoteModel, SplitEncoder

_HEADER = 46
_MUTATIONS = 6


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A payload with a few bits, bytes, numbers or pieces of it changed, perhaps sealed again."""
    wrong = bytearray(data)
    for _ in range(chance.randint(1, _MUTATIONS)):
        at = chance.randrange(len(wrong) + 1)
        kind = chance.randrange(6)
        if kind == 0 and at < len(wrong):
            wrong[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            wrong[at:at] = chance.randbytes(chance.randint(1, 64))
        elif kind == 2:
            del wrong[at : at + chance.randint(1, 64)]
        elif kind == 3:
            number = chance.choice((0, 1, -1, 1 << 15, -(1 << 31), (1 << 31) - 1, 1 << 20))
            wrong[at : at + 4] = struct.pack('<i', number)
        elif kind == 4:
            field = chance.choice((4, 5, 6, 7, 24, 26, 28, 38))
            wrong[field : field + 2] = chance.randbytes(2)
        else:
            source = chance.randrange(len(data))
            piece = data[source : source + chance.randint(1, 200)]
            wrong[at : at + len(piece)] = piece
    if chance.random() < 0.7 and len(wrong) >= _HEADER:
        length = len(wrong) - _HEADER - wrong[7]
        wrong[38:42] = struct.pack('<I', max(0, length))
        crc = zlib.crc32(wrong[46:], zlib.crc32(wrong[:42]))
        wrong[42:46] = struct.pack('<I', crc)
    return bytes(wrong)


def responses(rng: np.random.Generator) -> tuple[list[bytes], list[str]]:
    """Compact responses, and the names of their tensors."""
    y, x = np.mgrid[0:40, 0:52]
    found = []
    for count in (0, 1, 7):
        tensors = {
            'boxes': rng.uniform(0, 300, (1, count, 4)).astype(np.float32),
            'class_ids': rng.integers(0, 80, (1, count)),
            'depth': np.float32(0.1 + 0.01 * y + 0.02 * x + rng.normal(0, 0.002, y.shape))[None],
            'labels': ((y // 9 + x // 13) * count % 21).astype(np.uint8)[None],
        }
        block = pack_response(CompactResponse(tensors, (1.0, 40.0)), ['depth'], 0.03, 3e-4)
        assert block is not None
        found.append(block)
    return found, list(tensors)


@click.command()
@click.argument('model', type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option('--minutes', default=1.0, show_default=True)
@click.option('--seed', default=0, show_default=True)
def main(model: Path, minutes: float, seed: int) -> None:
    """Fuzz the way from bytes to latents of MODEL, a folder with a cut."""
    chance = random.Random(seed)
    robot, remote = SplitEncoder(model), RemoteModel(model)
    rng = np.random.default_rng(seed)
    spec = remote.manifest.input
    side = spec.min_size - spec.min_size % spec.multiple
    seeds = []
    for rate in range(robot.codec.rates):
        smooth = rng.integers(0, 256, (1, side // 8, side // 8, 3), np.uint8)
        image = smooth.repeat(8, axis=1).repeat(8, axis=2)
        seeds.append(pack(robot.payload(image, rate, 1, 'camera')))
    blocks, names = responses(rng)
    outcomes: Counter[str] = Counter()
    end = time.monotonic() + 60 * minutes
    memory = [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
    while time.monotonic() < end:
        for _ in range(200):
            data = mutated(chance.choice(seeds), chance)
            try:
                remote.latent(unpack(data))
                outcomes['taken'] += 1
            except PayloadError as error:
                outcomes[f'refused: {error.reason}'] += 1
            except ProtocolError:
                outcomes['refused'] += 1
            try:
                unpack_response(mutated(chance.choice(blocks), chance), names)
                outcomes['response: taken'] += 1
            except ProtocolError:
                outcomes['response: refused'] += 1
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    table = Table('outcome', 'payloads', title=f'{minutes:g} minutes, seed {seed}')
    for name, count in outcomes.most_common():
        table.add_row(name, f'{count:,}')
    Console().print(table)
    Console().print(f'peak memory {memory[1] / 1e3:.0f} → {memory[-1] / 1e3:.0f} MB')


if __name__ == '__main__':
    main()
