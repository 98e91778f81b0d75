# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation: bags and data sets in, one record for every frame and figures to decide by out."""
