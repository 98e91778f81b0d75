# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A robot's link to a remote host, made as bad as wanted, and what frames take over it."""
