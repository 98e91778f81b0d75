# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The keys and values of ``~/stats``: from the execution of a frame, and back."""

from __future__ import annotations

from collections.abc import Mapping

from mt_perception.reports import Execution, Value

REPORTS = ('budget.', 'reuse.', 'policy.', 'depth_scale.', 'offload.', 'conditions.')
"""Prefixes of the values of ``Execution.values()`` in statistics."""


def report_values(values: Mapping[str, str]) -> dict[str, Value]:
    """Return the values of ``Execution.values()`` from a ``~/stats`` message."""
    return {key: _value(text) for key, text in values.items() if key.startswith(REPORTS)}


def _value(text: str) -> Value:
    if text in ('True', 'False'):
        return text == 'True'
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def stats(execution: Execution, failures: Mapping[str, str]) -> dict[str, object]:
    """The execution of a frame and its cost, as keys and values."""
    return {
        **{f'latency_ms.{stage}': ms for stage, ms in execution.stage_ms.items()},
        **{f'block_ms.{block}': ms for block, ms in execution.block_ms.items()},
        'macs': execution.macs,
        'loaded_bytes': execution.loaded_bytes,
        'network_height': execution.network_size[0],
        'network_width': execution.network_size[1],
        'tasks': ' '.join(execution.tasks),
        'blocks': ' '.join(execution.blocks),
        'path': execution.path,
        'reason': execution.reason,
        **execution.values(),
        **{f'failed.{task}': reason for task, reason in failures.items()},
    }
