# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest's section `cut`: where the network may be cut, and what finishes it elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mt_perception.errors import ModelError
from mt_perception.model.blocks import BlockFile, read_blocks, take_file
from mt_perception.model.fields import Fields
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph

LATENT = 'latent'
"""The tensor at which the network is cut: what the encoder makes and the remote half reads."""

ENCODER = 'encoder'
MAX_RATES = 255
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Rate:
    """One of the rates behind the encoder.

    Attributes:
        payload_bytes: Mean size of a frame's payload at the model's reference size.
        accuracy: Task → its main metric at this rate, measured; empty where it was not.
    """

    payload_bytes: int
    accuracy: Mapping[str, float]


@dataclass(frozen=True)
class Cut:
    """A network cut in two.

    Attributes:
        encoder: The robot's half: reads the image, makes ``latent`` float32 (1, C, h, w).
        encoder_file: Its graph.
        tables: The codec's tables, JSON; see ``offload.codec``.
        channels: C.
        stride: The image is this many times higher and wider than the latent.
        rates: Cheapest first; a payload names one by its index.
        graph: The remote half: blocks that read ``latent``, (B, C, h, w) dequantised, and make
            the tasks' tensors, with a batch axis in front.
        files: Block of the remote half → its graph.
        digest: Of both halves and the tables; in every payload.
    """

    encoder: Block
    encoder_file: BlockFile
    tables: BlockFile
    channels: int
    stride: int
    rates: tuple[Rate, ...]
    graph: TaskGraph
    files: Mapping[str, BlockFile]
    digest: bytes

    def latent_shape(self, network_size: tuple[int, int]) -> tuple[int, int, int]:
        """(C, h, w) for a network's image of (height, width)."""
        height, width = network_size
        return self.channels, height // self.stride, width // self.stride


def parse_cut(data: Mapping[object, object], tasks: Mapping[str, Mapping[str, str]]) -> Cut | None:
    """Read the section.

    Args:
        data: The section; empty where the manifest has none.
        tasks: Task → what its post-processing reads → tensor of the graph. The remote half makes
            tensors of the same names.

    Raises:
        ModelError: A field is missing, unknown or out of range, or a task has no remote half.
    """
    if not data:
        return None
    where = 'manifest.cut'
    fields = Fields(data, where)
    (encoder,), encoder_files = read_blocks({ENCODER: fields.take(ENCODER, dict)}, where)
    if set(encoder.inputs.values()) != {IMAGE} or encoder.outputs != (LATENT,):
        raise ModelError(f'{where}.{ENCODER} must read {IMAGE!r} and make {LATENT!r}')
    tables = Fields(fields.take('tables', dict), f'{where}.tables')
    tables_file = take_file(tables, f'{where}.tables')
    tables.finish()
    blocks, files = read_blocks(fields.take('remote', dict), f'{where}.remote')
    rates: list[object] = fields.take('rates', list, lambda v: 1 <= len(v) <= MAX_RATES)
    cut = Cut(
        encoder=encoder,
        encoder_file=encoder_files[ENCODER],
        tables=tables_file,
        channels=fields.take('channels', int, lambda v: 1 <= v <= 4096),
        stride=fields.take('stride', int, lambda v: 1 <= v <= 256),
        rates=tuple(_rate(rate, f'{where}.rates[{i}]') for i, rate in enumerate(rates)),
        graph=TaskGraph(blocks, {t: names.values() for t, names in tasks.items()}, LATENT),
        files=files,
        digest=_digest(encoder_files[ENCODER], tables_file, *(files[n] for n in sorted(files))),
    )
    fields.finish()
    return cut


def _digest(*files: BlockFile) -> bytes:
    sums = ''.join(file.sha256 for file in files)
    return hashlib.sha256(sums.encode()).digest()[:_DIGEST_BYTES]


def _rate(data: object, where: str) -> Rate:
    fields = Fields(data, where)
    payload_bytes = fields.take('payload_bytes', int, lambda v: v >= 0)
    figures: dict[str, object] = fields.take('accuracy', dict)
    fields.finish()
    accuracy = Fields(figures, f'{where}.accuracy')
    return Rate(payload_bytes, {task: accuracy.take(task, float) for task in figures})
