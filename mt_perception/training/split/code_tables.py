# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the codec's integer frequency tables from the symbols of training images.

Ballé et al. derive tables from the trained density. Counts also capture the dependency between
channel groups: how likely a symbol is where the previous group was large.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.offload.codec import CodecRate, CodecTables, context_sums, differences
from mt_perception.offload.entropy_coder import TOTAL, FrequencyTable

CONTEXTS = 8
MAX_TABLES = 96
# Larger symbols are escaped; a few channels need this range.
REACH = 120

_ENTRIES = 2 * REACH + 2  # The last entry is the escape symbol.
_ROUNDS = 12
_FIRST_GROUPS = (2, 4, 8, 16, 32)
_SMOOTHING = 4.0
# Probability of symbols that were never counted.
_FLOOR = 1e-6

Symbols = Sequence[NDArray[np.int16]]
"""(C, h, w) of every image."""


def build_tables(
    rates: Sequence[Symbols],
    gains: NDArray[np.float32],
    inverses: NDArray[np.float32],
) -> CodecTables:
    """Count symbols and build the tables.

    Args:
        rates: symbols of the same images at every rate.
        gains: (R, C).
        inverses: (R, C).
    """
    differenced = _differenced(rates[len(rates) // 2])
    rates = [[differences(image, differenced) for image in symbols] for symbols in rates]
    groups = _groups(rates[-1])
    thresholds = [_thresholds(symbols, groups) for symbols in rates]
    counts = np.stack(
        [_counts(symbols, groups, t) for symbols, t in zip(rates, thresholds, strict=True)]
    )  # (R, C, contexts, entries)
    flat = counts.reshape(-1, counts.shape[-1])
    shapes, nearest = _clusters(flat)
    ids = nearest.reshape(counts.shape[:-1]).astype(np.uint8)
    return CodecTables(
        groups,
        tuple(_table(shape) for shape in shapes),
        tuple(
            CodecRate(gain, inverse, tuple(t), row)
            for gain, inverse, t, row in zip(gains, inverses, thresholds, ids, strict=True)
        ),
        differenced,
    )


def _differenced(symbols: Symbols) -> tuple[int, ...]:
    """Return the channels whose differences between neighbours have less entropy."""
    channels = range(len(symbols[0]))
    changed = [differences(image, channels) for image in symbols]
    return tuple(c for c in channels if _entropy(changed, c) < _entropy(symbols, c))


def _entropy(symbols: Symbols, channel: int) -> float:
    """Return the entropy of a channel's symbols, in bits per symbol."""
    _, counts = np.unique(
        np.concatenate([image[channel].ravel() for image in symbols]), return_counts=True
    )
    share = counts / counts.sum()
    return -float((share * np.log2(share)).sum())


def _groups(symbols: Symbols) -> tuple[NDArray[np.int64], ...]:
    """Return groups of channels in order of mean magnitude; the first groups are the smallest."""
    size = np.mean([np.abs(image.astype(np.int32)).mean(axis=(1, 2)) for image in symbols], axis=0)
    order = np.argsort(-size, kind='stable').astype(np.int64)
    ends = np.cumsum(_FIRST_GROUPS)
    return tuple(part for part in np.split(order, ends[ends < len(order)]) if len(part))


def _thresholds(symbols: Symbols, groups: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the context boundaries of every group, at equal frequencies of the contexts."""
    found = [np.array([], np.int64)]
    shares = np.linspace(0, 1, CONTEXTS + 1)[1:-1]
    for before in groups[:-1]:
        sums = np.concatenate(
            [context_sums(image[before].astype(np.int32)).ravel() for image in symbols]
        )
        found.append(np.unique(np.quantile(sums, shares, method='higher')).astype(np.int64))
    return found


def _counts(
    symbols: Symbols,
    groups: Sequence[NDArray[np.int64]],
    thresholds: Sequence[NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Count each channel's symbols in each context, (C, contexts, 2 REACH + 2)."""
    channels = sum(map(len, groups))
    flat = np.zeros(channels * CONTEXTS * _ENTRIES, np.int64)
    for image in symbols:
        before = None
        for group, limits in zip(groups, thresholds, strict=True):
            values = image[group].astype(np.int32)
            context = np.zeros(values.shape[1:], np.int64)
            if before is not None:
                context = np.searchsorted(limits, context_sums(before), side='right')
            entries = np.where(np.abs(values) > REACH, 2 * REACH + 1, values + REACH)
            place = group[:, None, None] * CONTEXTS + context
            flat += np.bincount((place * _ENTRIES + entries).ravel(), minlength=len(flat))
            before = values
    counts = flat.reshape(channels, CONTEXTS, _ENTRIES)
    # Rare contexts of a channel are smoothed by the counts over all its contexts.
    whole = counts.sum(axis=1, keepdims=True)
    smoothed: NDArray[np.float64] = counts + _SMOOTHING * whole / whole.sum(axis=2, keepdims=True)
    return smoothed


def _clusters(
    counts: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Cluster rows of counts into at most MAX_TABLES distributions, by code length.

    Lloyd's algorithm with bits as the distance, started from rows spread over all entropies.
    """
    share = counts / counts.sum(axis=1, keepdims=True)
    entropy = -(share * np.log2(np.maximum(share, 1e-12))).sum(axis=1)
    starts = np.argsort(entropy)[
        np.linspace(0, len(counts) - 1, min(MAX_TABLES, len(counts))).astype(int)
    ]
    shapes = share[starts]
    for _ in range(_ROUNDS):
        bits = -np.log2((1 - _FLOOR) * shapes + _FLOOR / shapes.shape[1])
        nearest = (counts @ bits.T).argmin(axis=1)
        used = np.unique(nearest)
        total = np.stack([counts[nearest == index].sum(axis=0) for index in used])
        shapes = total / total.sum(axis=1, keepdims=True)
    bits = -np.log2((1 - _FLOOR) * shapes + _FLOOR / shapes.shape[1])
    return shapes, (counts @ bits.T).argmin(axis=1)


def _table(share: NDArray[np.float64]) -> FrequencyTable:
    """Return the integer table of a distribution over -REACH … REACH and the escape."""
    likely = np.flatnonzero(share[:-1] > 1.0 / TOTAL)
    first, last = (int(likely[0]), int(likely[-1])) if len(likely) else (REACH, REACH)
    inside = share[first : last + 1]
    rest = max(1.0 - float(inside.sum()), _FLOOR)
    wanted = np.append(inside, rest)
    counts = np.maximum(np.floor(wanted / wanted.sum() * (TOTAL - len(wanted))), 1).astype(int)
    counts[int(counts.argmax())] += TOTAL - int(counts.sum())
    return FrequencyTable(first - REACH, tuple(counts.tolist()))
