# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest section ``cut``: a network split into an encoder and a remote half."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from mt_perception.errors import ModelError
from mt_perception.model.blocks import BlockFile, read_blocks, take_file
from mt_perception.model.fields import Fields
from mt_perception.model.task_graph import IMAGE, Block, TaskGraph

LATENT = 'latent'
"""The tensor between the two parts: output of the encoder, input of the decoder."""

ENCODER = 'encoder'
MAX_RATES = 255
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Rate:
    """One operating point of the payload codec.

    Attributes:
        payload_bytes: Mean payload of a frame in bytes, at the model's reference size.
        accuracy: Task → measured value of its main metric; empty if not measured.
    """

    payload_bytes: int
    accuracy: Mapping[str, float]


@dataclass(frozen=True)
class Cut:
    """A split network.

    Attributes:
        encoder: The robot's half: reads the image, returns ``latent`` float32 (1, C, h, w).
        encoder_file: File of the encoder.
        tables: File of the codec's tables, JSON; see ``offload.codec``.
        channels: C, the channels of the latent.
        stride: Network input pixels per latent cell along each side.
        rates: Operating points, the smallest payload first; a payload holds the index.
        graph: The remote half: blocks that read the dequantised ``latent`` (B, C, h, w) and
            return the tasks' tensors with a batch axis.
        files: Block of the remote half → its file.
        digest: Hash over all files of both parts; part of every payload.
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
        """Shape (C, h, w) of the latent for a network input of (height, width)."""
        height, width = network_size
        return self.channels, height // self.stride, width // self.stride


def parse_cut(data: Mapping[object, object], tasks: Mapping[str, Mapping[str, str]]) -> Cut | None:
    """Read the section.

    Args:
        data: The section; empty if the manifest has none.
        tasks: Task → output name → tensor of the graph. The remote half returns tensors with
            these names.

    Raises:
        ModelError: A field is missing, unknown or out of range, or a task has no remote half.
    """
    if not data:
        return None
    where = 'manifest.cut'
    fields = Fields(data, where)
    (encoder,), encoder_files = read_blocks({ENCODER: fields.take(ENCODER, dict)}, where)
    if set(encoder.inputs.values()) != {IMAGE} or encoder.outputs != (LATENT,):
        raise ModelError(f'{where}.{ENCODER} must read {IMAGE!r} and return {LATENT!r}')
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
    rate = Rate(payload_bytes, fields.take_accuracy())
    fields.finish()
    return rate
