# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Offloading: the robot compresses features, and a remote host runs the rest of the network."""
