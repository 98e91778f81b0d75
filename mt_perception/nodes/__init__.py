# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 nodes: they convert messages and schedule frames."""
