# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds the files that are installed with the package: models, config and launch files."""

from __future__ import annotations

import os
import re
import shlex
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from mt_perception.errors import ModelError

NAME = 'mt_perception'

_MANIFEST = 'manifest.yaml'


def share_folder() -> Path:
    """The folder of ``models``, ``config`` and ``launch``.

    In a checkout (also one installed with ``pip install -e``) it is the checkout; otherwise
    ``share/mt_perception`` of the colcon or pip installation.
    """
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / 'package.xml').is_file():
        return checkout
    prefixes = [*filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep))]
    installed = [Path(prefix) / 'share' / NAME for prefix in (*prefixes, sys.prefix)]
    return next((folder for folder in installed if folder.is_dir()), installed[-1])


def list_models() -> list[str]:
    """Return the names of the installed models, which ``Pipeline.load`` takes.

    Example:
        >>> from mt_perception import list_models
        >>> 'cspnano' in list_models()
        True
    """
    models = share_folder() / 'models'
    if not models.is_dir():
        return []
    return sorted(p.name for p in models.iterdir() if (p / _MANIFEST).is_file())


def find_model(name: str) -> Path:
    """Return the folder of a model.

    Args:
        name: Name of an installed model, or path of a model folder or of its manifest.

    Raises:
        ModelError: There is no such folder and no such installed model.
    """
    path = Path(os.path.expanduser(name))
    if path.name == _MANIFEST and os.path.isfile(path):
        return path.parent
    # An installed model has precedence, so that a name has one meaning in every directory.
    models = share_folder() / 'models'
    for folder in (models / name, path) if path.name == name else (path,):
        if name and os.path.isdir(folder):
            return folder
    installed = list_models()
    raise ModelError(
        f'model {name!r} is neither a folder nor installed; expected the path of a folder with a '
        f'{_MANIFEST}, or one of: {", ".join(installed) or f"(none in {models})"}'
    )


def install_command(*extras: str) -> str:
    """The pip command for the packages of extras.

    It names the packages themselves, because mt_perception is not on PyPI.
    """
    found = dict.fromkeys(package for extra in extras for package in _packages(extra))
    if not found:
        return f'install the packages of {" and ".join(extras)} in setup.py'
    return 'pip install ' + ' '.join(map(shlex.quote, found))


def missing_packages(extra: str) -> list[str]:
    """The names of an extra's packages that are not installed."""
    names = [re.split(r'[^\w.-]', package)[0] for package in _packages(extra)]
    return [name for name in names if not _is_installed(name)]


def _packages(extra: str) -> list[str]:
    """The requirements of an extra; none if the package has no metadata."""
    try:
        requirements = requires(NAME) or []
    except PackageNotFoundError:
        return []
    return [
        requirement.partition(';')[0].strip()
        for requirement in requirements
        if f'extra == "{extra}"' in requirement.replace("'", '"')
    ]


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
