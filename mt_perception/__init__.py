# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detections, metric depth and segmentation from one shared multitask network."""

from __future__ import annotations

__version__ = '0.1.0'
