# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Planning: which tasks, blocks and path a frame gets, within a budget."""
