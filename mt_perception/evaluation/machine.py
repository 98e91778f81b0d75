# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The machine and package versions of an evaluation."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from mt_perception import __version__
from mt_perception.evaluation.records import Json

_PACKAGES = ('numpy', 'onnxruntime', 'opencv-python-headless', 'opencv-python', 'rosbags')


def machine() -> dict[str, Json]:
    """Processor, cores that this process may use, memory and system."""
    return {
        'processor': _processor(),
        'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else None,
        'memory_bytes': os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'),
        'system': platform.system(),
        'release': platform.release(),
        'architecture': platform.machine(),
    }


def versions() -> dict[str, str]:
    """Package → version, of packages that affect results."""
    found = {'mt_perception': __version__, 'python': platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            if line.startswith(('model name', 'Model')):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
