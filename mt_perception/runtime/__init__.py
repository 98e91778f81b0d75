# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Running a model folder with ONNX Runtime: manifest, sessions, executor, post-processing."""
