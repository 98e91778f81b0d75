# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sources of frames without ROS: folders, images, videos, cameras, streams and bags."""

from __future__ import annotations

from mt_perception.sources.frame_source import Source
from mt_perception.sources.open import is_bag, open_source

__all__ = ['Source', 'is_bag', 'open_source']
