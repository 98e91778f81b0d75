# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Post-processing: from tensors of a head to results in pixels of the input image."""
