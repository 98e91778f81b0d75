# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Schedules of a training: MT2ST, phases, learning rates."""
