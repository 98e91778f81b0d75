# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The structure of a network: sharing trees (Antler) and gated channels (InterroGate)."""
