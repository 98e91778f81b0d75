# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m mt_perception.interfaces``: builds vision_msgs and tf2_msgs if they are missing."""

from __future__ import annotations

import sys

from mt_perception.errors import InterfaceError
from mt_perception.interfaces.install import ensure_interfaces


def main() -> int:
    """Build the missing packages; the exit status is 1 if that fails."""
    try:
        built = ensure_interfaces()
    except InterfaceError as error:
        sys.stderr.write(f'interfaces: {error}\n')
        return 1
    sys.stdout.write(f'built and installed: {", ".join(built) or "nothing was missing"}\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
