# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Gates, lighter paths and the path policy (AdaMTL)."""
