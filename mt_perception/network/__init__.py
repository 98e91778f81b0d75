# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The torch networks: a shared trunk, its heads, and the checkpoint that they start from."""
