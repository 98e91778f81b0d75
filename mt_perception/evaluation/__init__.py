# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation: runs models on bags and data sets, and writes records, metrics and reports."""
