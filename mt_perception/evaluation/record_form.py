# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The form of ``frames.jsonl`` and ``summary.json``: their readers take values without checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Form: TypeAlias = Callable[[Any, str], None]
"""Raises TypeError unless a value has a form; the text is its place in the record."""


def check_frame(fields: Mapping[str, Any]) -> None:
    """Check all values of a parsed line of ``frames.jsonl`` that are read again.

    Raises:
        TypeError: A value has another type or length; the message names its place.
    """
    _FRAME(fields, '')


def check_summary(fields: Mapping[str, Any]) -> None:
    """Check the values of a parsed ``summary.json`` that are read again; errors as above."""
    _SUMMARY(fields, '')


def _is(*kinds: type) -> Form:
    names = ' or '.join(kind.__name__ for kind in kinds)

    def check(value: Any, place: str) -> None:
        # A bool is an int.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise TypeError(f'{place} is a {type(value).__name__}, expected {names}')

    return check


def _optional(form: Form) -> Form:
    def check(value: Any, place: str) -> None:
        if value is not None:
            form(value, place)

    return check


def _list(form: Form, length: int | None = None) -> Form:
    def check(value: Any, place: str) -> None:
        _LIST(value, place)
        if length is not None and len(value) != length:
            raise TypeError(f'{place} has {len(value)} values, expected {length}')
        for index, item in enumerate(value):
            form(item, f'{place}[{index}]')

    return check


def _values(form: Form) -> Form:
    """A mapping whose values have one form."""

    def check(value: Any, place: str) -> None:
        _MAPPING(value, place)
        for key, item in value.items():
            form(item, f'{place}.{key}')

    return check


def _fields(forms: Mapping[str, Form], required: tuple[str, ...] = ()) -> Form:
    """A mapping with some known keys; others are not read."""

    def check(value: Any, place: str) -> None:
        _MAPPING(value, place)
        for key in required:
            if key not in value:
                raise TypeError(f'{place} has no {key}')
        for key in forms.keys() & value.keys():
            forms[key](value[key], f'{place}.{key}'.lstrip('.'))

    return check


_LIST, _MAPPING = _is(list), _is(dict)
_TEXT, _INTEGER, _NUMBER, _FLAG = _is(str), _is(int), _is(int, float), _is(bool)
# What is not finite is written as null.
_FIGURE = _optional(_NUMBER)
_BOXES, _NAMES = _list(_list(_FIGURE, 4)), _list(_TEXT)
_TRACKS = _optional(_list(_INTEGER))
_TIMES = _values(_NUMBER)

_HEADLINE_DEPTH = ('abs_rel', 'rmse', 'delta1')
_DEPTH_ERRORS = _fields(dict.fromkeys(_HEADLINE_DEPTH, _FIGURE), _HEADLINE_DEPTH)


def _confidence(value: Any, place: str) -> None:
    _values(_list(_INTEGER, 2))(value, place)
    for code in value:
        if not (code.isdecimal() and int(code) < 256):
            raise TypeError(f'{place} has the code {code}, expected 0 to 255')


_METRICS = _fields(
    {
        'detection': _fields({'ap': _FIGURE, 'found': _NUMBER, 'objects': _NUMBER}),
        'segmentation': _fields(
            {
                'miou': _FIGURE,
                'pixel_accuracy': _FIGURE,
                'confusion': _values(_values(_NUMBER)),
                'confidence': _confidence,
            }
        ),
        'depth': _fields(
            {
                'pixels': _NUMBER,
                'coverage': _NUMBER,
                'ranges': _list(_list(_NUMBER, 5)),
                **dict.fromkeys(('metric', 'median', 'affine', 'constant'), _DEPTH_ERRORS),
            }
        ),
        'stability': _values(_FIGURE),
        'tracking': _values(_NUMBER),
    }
)


def _groups(value: Any, place: str) -> None:
    _values(_MAPPING)(value, place)
    _METRICS(value, place)


_DETECTIONS = {
    'boxes': _BOXES,
    'scores': _list(_FIGURE),
    'labels': _NAMES,
    'track_ids': _TRACKS,
}
_TRUTH = {
    'boxes': _optional(_BOXES),
    'labels': _NAMES,
    'crowd': _list(_FLAG),
    'areas': _list(_FIGURE),
    'exhaustive': _NAMES,
    'segmentation': _FLAG,
    'depth': _FLAG,
    'pseudo': _TEXT,
    'track_ids': _TRACKS,
}
_FRAME = _fields(
    {
        **dict.fromkeys(('key', 'source', 'path', 'reason'), _TEXT),
        **dict.fromkeys(('stamp_ns', 'macs'), _INTEGER),
        **dict.fromkeys(('image_size', 'network_size'), _list(_INTEGER, 2)),
        **dict.fromkeys(('tasks', 'blocks'), _NAMES),
        **dict.fromkeys(('failures', 'digests'), _values(_TEXT)),
        'extra': _fields(dict.fromkeys(('offload.payload_bytes', 'reuse.age_ms'), _NUMBER)),
        'timing': _fields({'latency_ms': _TIMES, 'block_ms': _TIMES}, ('latency_ms',)),
        'metrics': _groups,
        'detections': _optional(_fields(_DETECTIONS, ('boxes', 'scores', 'labels'))),
        'truth': _optional(_fields(_TRUTH)),
    }
)

_NETWORKS = _list(_fields({'kind': _TEXT}, ('kind',)))
_SUMMARY = _fields(
    {
        'source': _TEXT,
        **dict.fromkeys(('failures', 'machine', 'versions'), _MAPPING),
        'model': _fields({'labels': _values(_NAMES), 'baseline': _optional(_NETWORKS)}),
        'data': _fields({'inputs': _MAPPING, 'notes': _list(_TEXT), 'kind': _TEXT}),
        'parameters': _fields({'swept': _optional(_MAPPING)}),
        'counts': _fields({'frames': _INTEGER, 'failed': _INTEGER, 'macs_mean': _NUMBER}),
        'metrics': _values(_MAPPING),
        'timing': _fields({'latency_ms': _MAPPING, 'jobs_at_once': _INTEGER}),
    }
)
