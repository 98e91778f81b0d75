# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds vision_msgs where it is missing: with pip's ROS wheels and a compiler, no cmake."""

from __future__ import annotations
