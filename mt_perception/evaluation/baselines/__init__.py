# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Peers: plain ONNX networks of others, measured by the same runner on the same frames."""

from __future__ import annotations

from mt_perception.evaluation.baselines.baseline import Net, Peer
from mt_perception.evaluation.baselines.open import KINDS, open_peer

__all__ = ['KINDS', 'Net', 'Peer', 'open_peer']
