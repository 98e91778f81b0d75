# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Execution providers of ONNX Runtime: names with options, as YAML text.

The node, the command line and Python take the same text: ``CUDA``, or with ONNX Runtime's options
``OpenVINO: {device_type: CPU}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnxruntime as ort

from mt_perception.data_files import parse_yaml
from mt_perception.errors import ModelError, OptionError

CPU = 'CPUExecutionProvider'
_SUFFIX = 'ExecutionProvider'


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        name: ONNX Runtime's name.
        options: ONNX Runtime's options of this provider, as text.
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_available(self) -> bool:
        """Whether the installed ONNX Runtime has this provider."""
        return self.name in ort.get_available_providers()


def parse_providers(texts: Sequence[str]) -> tuple[Provider, ...]:
    """Parse providers in order of preference.

    Args:
        texts: Names, with or without ``ExecutionProvider`` and in any case, or YAML mappings of
            one name to its options.

    Returns:
        Each provider once, as first named; the CPU is the last if it is not named.

    Raises:
        ModelError: A provider is unknown.
        OptionError: A text is neither a name nor a name with options.
    """
    found: dict[str, Provider] = {}
    for text in (*texts, CPU):
        provider = _parse(text)
        found.setdefault(provider.name, provider)
    return tuple(found.values())


def short_name(provider: str) -> str:
    """The name without ``ExecutionProvider``, for display."""
    return provider.removesuffix(_SUFFIX)


def _parse(text: str) -> Provider:
    data = parse_yaml(text, f'provider {text!r}', OptionError)
    options: Any = {}
    if isinstance(data, dict) and len(data) == 1:
        (data, options), *_ = data.items()
    if (
        not isinstance(data, str)
        or not isinstance(options, dict)
        or not all(isinstance(value, (str, int, float)) for value in options.values())
    ):
        raise OptionError(
            f'provider {text!r} is neither a name nor a name with options; expected for example '
            "CUDA or 'OpenVINO: {device_type: CPU}'"
        )
    # ONNX Runtime takes only text; its Python examples write booleans as True and False.
    return Provider(_known(data), {str(key): str(value) for key, value in options.items()})


def _known(name: str) -> str:
    """ONNX Runtime's name of a provider."""
    known: dict[str, str] = {each.lower(): each for each in ort.get_all_providers()}
    key = name.lower().removesuffix(_SUFFIX.lower()) + _SUFFIX.lower()
    if key not in known:
        raise ModelError(
            f'execution provider {name!r} is unknown; known are {", ".join(known.values())}'
        )
    return known[key]
