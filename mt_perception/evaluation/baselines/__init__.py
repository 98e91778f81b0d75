# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Baselines: ONNX networks of other projects, evaluated on the same frames."""

from __future__ import annotations

from mt_perception.evaluation.baselines.baseline import Baseline, Net
from mt_perception.evaluation.baselines.open_baseline import open_baseline

__all__ = ['Baseline', 'Net', 'open_baseline']
