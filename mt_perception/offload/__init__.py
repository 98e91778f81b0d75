# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Offloading: features are compressed on the robot, and a remote host finishes the work."""
