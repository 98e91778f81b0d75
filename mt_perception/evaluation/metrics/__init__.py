# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How results are judged: one file for each family of figures, the same verbs in all of them."""
