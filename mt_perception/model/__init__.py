# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The model folder: manifest, task graph, sessions; the contract between training and running."""
