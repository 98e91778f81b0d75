# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 doors of the house: nodes that convert and schedule, and nothing else."""
