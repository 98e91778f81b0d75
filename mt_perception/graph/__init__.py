# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The task graph: blocks, the tasks they serve, and the plan for one frame."""
