# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Converts a gated trunk to a trunk without gates and without unused filters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mt_perception.network.branches import LEVELS, Branches, Step
from mt_perception.network.interrogate import GatedConvolution, GatedTrunk, key
from mt_perception.network.layers import IMAGE, Join, Layer, copy_convolution, operation
from mt_perception.network.multitask import TASKS

_SHARED = len(TASKS)  # index of the shared branch, and of the stream that it reads
_BRANCHES = (*TASKS, 'shared')


class Pixel(NamedTuple):
    """A colour channel of the image."""

    colour: int


class Filter(NamedTuple):
    """An output channel of one branch of a convolution."""

    layer: Layer
    branch: int
    output: int


class Mixture(NamedTuple):
    """A weighted sum of channels."""

    sources: tuple[int, ...]
    weights: tuple[float, ...]


class Elementwise(NamedTuple):
    """An output channel of a layer without weights, for one or two input channels."""

    kind: str
    kernel: int
    sources: tuple[int, ...]


# Equal channels are one channel. A task without own filters so far reads the shared channels, and
# branches off at its first own filter.
Channel = Pixel | Filter | Mixture | Elementwise


class Mix(nn.Module):
    """Weighted sum of tensors, per channel.

    Args:
        weights: (T, C).
    """

    weights: Tensor

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer('weights', weights[:, None, :, None, None])

    def forward(self, *x: Tensor) -> Tensor:
        return (torch.stack(x) * self.weights).sum(dim=0)


def prune(trunk: GatedTrunk) -> Branches:
    """Remove channels on which no head depends; outputs stay the same."""
    with torch.no_grad():
        channels = _Channels(trunk)
        return _Emission(trunk, channels).branches()


class _Channels:
    """All channels of all streams, and their liveness.

    Attributes:
        known: number → channel.
        streams: layer → numbers of the channels for every task, then for the shared branch.
        made: layer → channels that first occur in this layer.
        live: channels on which a head depends.
    """

    def __init__(self, trunk: GatedTrunk) -> None:
        z, mix = trunk.gates()
        self._z, self._mix = (z > 0.5).tolist(), mix.tolist()
        self._spans = trunk.spans
        self.known: list[Channel] = []
        self.made: dict[str, list[int]] = {}
        self._numbers: dict[Channel, int] = {}
        image = [self._number(Pixel(c)) for c in range(3)]
        self.streams = {IMAGE: [image] * (_SHARED + 1)}
        for layer in trunk.layers:
            before = len(self.known)
            self.streams[layer.name] = self._through(layer)
            self.made[layer.name] = list(range(before, len(self.known)))
        self.live = self._living(
            [
                channel
                for index, task in enumerate(TASKS)
                for level in LEVELS[task]
                for channel in self.streams[trunk.outputs[level]][index]
            ]
        )

    def inputs(self, layer: Layer, branch: int) -> list[int]:
        """Return the input channels of a branch of a convolution."""
        return self.streams[layer.reads[0]][branch]

    def _number(self, channel: Channel) -> int:
        if channel not in self._numbers:
            self._numbers[channel] = len(self.known)
            self.known.append(channel)
        return self._numbers[channel]

    def _through(self, layer: Layer) -> list[list[int]]:
        if layer.kind == 'convolution':
            return self._convolution(layer)
        given = [[self.streams[name][i] for name in layer.reads] for i in range(_SHARED + 1)]
        if layer.kind == 'join':
            return [list(chain(*streams)) for streams in given]
        return [
            [
                self._number(Elementwise(layer.kind, layer.kernel, sources))
                for sources in zip(*streams, strict=True)
            ]
            for streams in given
        ]

    def _convolution(self, layer: Layer) -> list[list[int]]:
        outputs = range(layer.channels[1])
        shared = [self._number(Filter(layer, _SHARED, c)) for c in outputs]
        if layer.name not in self._spans:
            return [shared] * (_SHARED + 1)
        begin = self._spans[layer.name].start
        tasks = [
            [self._number(Filter(layer, task, c)) if z[begin + c] else shared[c] for c in outputs]
            for task, z in enumerate(self._z)
        ]
        return [
            *tasks,
            [
                self._mixture(sources, tuple(row[begin + c] for row in self._mix))
                for c, sources in enumerate(zip(*tasks, strict=True))
            ],
        ]

    def _mixture(self, sources: tuple[int, ...], weights: tuple[float, ...]) -> int:
        # The weights have sum 1, so a mixture of equal channels is that channel.
        if len(set(sources)) == 1:
            return sources[0]
        return self._number(Mixture(sources, weights))

    def _living(self, read_by_heads: Sequence[int]) -> set[int]:
        live: set[int] = set()
        stack = list(read_by_heads)
        while stack:
            channel = stack.pop()
            if channel not in live:
                live.add(channel)
                stack += self._sources(self.known[channel])
        return live

    def _sources(self, channel: Channel) -> Sequence[int]:
        match channel:
            case Filter(layer, branch, output):
                given = self.inputs(layer, branch)
                return [given[output]] if layer.depthwise else given
            case Pixel():
                return ()
        return channel.sources


class _Emission:
    """Emits the live channels as steps; convolutions keep their live outputs only."""

    def __init__(self, trunk: GatedTrunk, channels: _Channels) -> None:
        self._trunk = trunk
        self._channels = channels
        self._steps: list[Step] = []
        self._place: dict[int, tuple[str, int]] = {c: (IMAGE, c) for c in range(3)}
        self._width = {IMAGE: 3}
        self._picked: dict[tuple[int, ...], str] = {}

    def branches(self) -> Branches:
        channels = self._channels
        for layer in self._trunk.layers:
            live = [c for c in channels.made[layer.name] if c in channels.live]
            if layer.kind == 'convolution':
                self._filters(layer, live)
                self._mixes(layer, live)
            elif live:
                self._elementwise(layer, live)
        outputs = self._trunk.outputs
        return Branches(
            self._steps,
            {
                task: tuple(
                    self._pick(channels.streams[outputs[level]][index]) for level in LEVELS[task]
                )
                for index, task in enumerate(TASKS)
            },
        )

    def _filters(self, layer: Layer, live: Sequence[int]) -> None:
        filters = [(c, f) for c in live if isinstance(f := self._channels.known[c], Filter)]
        for branch in range(_SHARED + 1):
            made = [c for c, f in filters if f.branch == branch]
            keep = [f.output for _, f in filters if f.branch == branch]
            if not made:
                continue
            given = self._channels.inputs(layer, branch)
            reads = self._pick([given[c] for c in keep] if layer.depthwise else given)
            conv = copy_convolution(self._convolution(layer, branch), keep)
            self._emit(f'{layer.name}-{_BRANCHES[branch]}', (reads,), conv, made)

    def _convolution(self, layer: Layer, branch: int) -> nn.Conv2d:
        if layer.name not in self._trunk.spans:
            found = self._trunk.prefix[key(layer)]
        else:
            gated = self._trunk.gated[key(layer)]
            assert isinstance(gated, GatedConvolution)
            found = gated.shared if branch == _SHARED else gated.own[branch]
        conv = found.conv
        assert isinstance(conv, nn.Conv2d)
        return conv

    def _mixes(self, layer: Layer, live: Sequence[int]) -> None:
        mixes = [(c, m) for c in live if isinstance(m := self._channels.known[c], Mixture)]
        if mixes:
            columns = zip(*(m.sources for _, m in mixes), strict=True)
            weights = torch.tensor([m.weights for _, m in mixes]).T
            reads = tuple(self._pick(column) for column in columns)
            self._emit(f'{layer.name}-mix', reads, Mix(weights), [c for c, _ in mixes])

    def _elementwise(self, layer: Layer, live: Sequence[int]) -> None:
        """Emit one step per stream, so that tasks do not depend on each other."""
        known, left = self._channels.known, set(live)
        for branch in (_SHARED, *range(_SHARED)):
            stream = dict.fromkeys(self._channels.streams[layer.name][branch])
            made = [c for c in stream if c in left]
            if not made:
                continue
            left -= set(made)
            sources = [e.sources for c in made if isinstance(e := known[c], Elementwise)]
            reads = tuple(self._pick(column) for column in zip(*sources, strict=True))
            self._emit(f'{layer.name}-{_BRANCHES[branch]}', reads, operation(layer), made)

    def _pick(self, wanted: Sequence[int]) -> str:
        """Return a step whose output has exactly these channels, in this order."""
        chosen = tuple(wanted)
        if chosen not in self._picked:
            places = [self._place[c] for c in chosen]
            sources = tuple(dict.fromkeys(name for name, _ in places))
            widths = [self._width[s] for s in sources]
            begins = dict(zip(sources, accumulate(widths, initial=0), strict=False))
            index = [begins[name] + position for name, position in places]
            whole = index == list(range(sum(widths)))
            if whole and len(sources) == 1:
                self._picked[chosen] = sources[0]
            else:
                name = f'pick-{len(self._picked)}'
                self._steps.append(Step(name, sources, Join(None if whole else index)))
                self._picked[chosen] = name
        return self._picked[chosen]

    def _emit(
        self, name: str, reads: tuple[str, ...], module: nn.Module, made: Sequence[int]
    ) -> None:
        self._steps.append(Step(name, reads, module))
        self._width[name] = len(made)
        self._place |= {channel: (name, position) for position, channel in enumerate(made)}
