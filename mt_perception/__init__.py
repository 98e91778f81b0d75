# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detections, metric depth and segmentation from one shared multitask network.

Example:
    >>> import numpy as np
    >>> from mt_perception import Pipeline
    >>> pipeline = Pipeline.load('cspnano')
    >>> result = pipeline.run(np.zeros((240, 320, 3), np.uint8))
    >>> len(result.detections), result.depth.depth.shape
    (0, (240, 320))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = '0.9.0'

if TYPE_CHECKING:
    from mt_perception.errors import (
        BagError,
        CameraError,
        ImageError,
        ModelError,
        OffloadError,
        OptionError,
        OutputError,
        PerceptionError,
        SourceError,
        TaskError,
    )
    from mt_perception.execution.options import Options
    from mt_perception.geometry.plane import GroundPlane
    from mt_perception.image.overlay import draw
    from mt_perception.pipeline import Pipeline
    from mt_perception.planning.budget import Budget
    from mt_perception.resources import list_models
    from mt_perception.sources.open import open_source
    from mt_perception.types import (
        DepthMap,
        Detections,
        Frame,
        Intrinsics,
        Result,
        Segmentation,
    )

__all__ = [
    'BagError',
    'Budget',
    'CameraError',
    'DepthMap',
    'Detections',
    'Frame',
    'GroundPlane',
    'ImageError',
    'Intrinsics',
    'ModelError',
    'OffloadError',
    'OptionError',
    'Options',
    'OutputError',
    'PerceptionError',
    'Pipeline',
    'Result',
    'Segmentation',
    'SourceError',
    'TaskError',
    'draw',
    'list_models',
    'open_source',
]

# Public name → module. Modules are imported on first use: `import mt_perception` costs nothing.
_MODULES = {
    'Budget': 'planning.budget',
    'DepthMap': 'types',
    'Detections': 'types',
    'Frame': 'types',
    'GroundPlane': 'geometry.plane',
    'Intrinsics': 'types',
    'Options': 'execution.options',
    'Pipeline': 'pipeline',
    'Result': 'types',
    'Segmentation': 'types',
    'draw': 'image.overlay',
    'list_models': 'resources',
    'open_source': 'sources.open',
}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    module = importlib.import_module(f'{__name__}.{_MODULES.get(name, "errors")}')
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, '__version__']
