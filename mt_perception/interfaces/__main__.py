# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m mt_perception.interfaces``: builds vision_msgs if this Python lacks it."""

from __future__ import annotations

import sys

from mt_perception.errors import InterfaceError
from mt_perception.interfaces.install import ensure_vision_msgs


def main() -> int:
    """Build vision_msgs if it is missing; the exit status is 1 if that fails."""
    try:
        built = ensure_vision_msgs()
    except InterfaceError as error:
        sys.stderr.write(f'vision_msgs: {error}\n')
        return 1
    sys.stdout.write(f'vision_msgs: {"built and installed" if built else "already installed"}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
