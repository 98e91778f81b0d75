# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the files lie that come with the package beside its code: models, config, launch."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mt_perception.errors import ModelError

NAME = 'mt_perception'


def share_folder() -> Path:
    """The folder that holds ``models``, ``config`` and ``launch``.

    In a checkout (also one installed with ``pip install -e``) it is the checkout itself; else
    ``share/mt_perception`` where colcon or pip installed it.
    """
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / 'package.xml').is_file():
        return checkout
    prefixes = [*filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep))]
    installed = [Path(prefix) / 'share' / NAME for prefix in (*prefixes, sys.prefix)]
    return next((folder for folder in installed if folder.is_dir()), installed[-1])


def find_model(name: str) -> Path:
    """The model folder that a person means.

    Args:
        name: Path of a folder, or the name of an installed model.

    Raises:
        ModelError: There is neither.
    """
    path = Path(name).expanduser()
    # A bare name is an installed model first, so that it means the same in every directory.
    models = share_folder() / 'models'
    for folder in (models / name, path) if path.name == name else (path,):
        if name and folder.is_dir():
            return folder
    installed = sorted(folder.name for folder in models.iterdir()) if models.is_dir() else []
    raise ModelError(
        f'model {name!r} is neither a folder nor installed; expected the path of a folder with a '
        f'manifest.yaml, or one of: {", ".join(installed) or f"(none in {models})"}'
    )
