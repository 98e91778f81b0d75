# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The command line: one file for each sub-command of ``mt_perception``."""

from __future__ import annotations
