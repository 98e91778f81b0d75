# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training of a cascade: a second network behind the robot's, and gates before it."""
