# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds vision_msgs with the ROS wheels of PyPI and a compiler, without cmake.

It is part of the package, not of ``tools/``, because the extra ``ros`` cannot
install vision_msgs: it is not on PyPI. A user without the repository runs
``python -m mt_perception.interfaces`` once.
"""

from __future__ import annotations
