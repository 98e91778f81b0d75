# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images: reading, encodings, letterbox, pyramid, optical flow and overlay."""
