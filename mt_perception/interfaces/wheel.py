# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Creates a wheel (PEP 427) of a built interface package, which pip can install and remove."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import sys
import sysconfig
import zipfile
from pathlib import Path

from mt_perception.interfaces.generation import GeneratedSources
from mt_perception.interfaces.package import InterfacePackage


def write_wheel(
    package: InterfacePackage, sources: GeneratedSources, extension: Path, folder: Path
) -> Path:
    """Write the wheel.

    Args:
        package: The interface package.
        sources: The generated sources.
        extension: The compiled extension.
        folder: Folder for the wheel.

    Returns:
        The wheel's path; its tag names this Python's version and platform.
    """
    distribution = f'mt_perception_{package.name}'
    python = f'cp{sys.version_info.major}{sys.version_info.minor}'
    platform = sysconfig.get_platform().replace('-', '_').replace('.', '_')
    tag = f'{python}-{python}-{platform}'
    stem = f'{distribution}-{package.version}'
    files = _python_files(package, sources, extension)
    for name, content in _share_files(package, sources).items():
        files[f'{stem}.data/data/share/{name}'] = content
    files |= _metadata(stem, distribution, package, tag)
    files[f'{stem}.dist-info/RECORD'] = _record(files, f'{stem}.dist-info/RECORD')
    wheel = folder / f'{stem}-{tag}.whl'
    with zipfile.ZipFile(wheel, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return wheel


def _python_files(
    package: InterfacePackage, sources: GeneratedSources, extension: Path
) -> dict[str, bytes]:
    files = {f'{package.name}/__init__.py': b''}
    for path in sorted((sources.python / 'msg').glob('*.py')):
        files[f'{package.name}/msg/{path.name}'] = path.read_bytes()
    files[f'{package.name}/{extension.name}'] = extension.read_bytes()
    return files


def _share_files(package: InterfacePackage, sources: GeneratedSources) -> dict[str, bytes]:
    """The files in share/ that `ros2 interface`, rosbag2 and Foxglove read."""
    name = package.name
    files = {f'{name}/package.xml': (package.source / 'package.xml').read_bytes()}
    listed = []
    for message in package.messages:
        for path in (
            package.source / 'msg' / f'{message}.msg',
            sources.idl / f'{message}.idl',
            sources.descriptions / 'msg' / f'{message}.json',
        ):
            files[f'{name}/msg/{path.name}'] = path.read_bytes()
            listed.append(f'msg/{path.name}')
    index = 'ament_index/resource_index'
    files[f'{index}/packages/{name}'] = b''
    files[f'{index}/rosidl_interfaces/{name}'] = '\n'.join(listed).encode()
    return files


def _metadata(
    stem: str, distribution: str, package: InterfacePackage, tag: str
) -> dict[str, bytes]:
    metadata = (
        'Metadata-Version: 2.1\n'
        f'Name: {distribution.replace("_", "-")}\n'
        f'Version: {package.version}\n'
        f'Summary: {package.name} for the ROS wheels of this Python, built by mt_perception\n'
        'License: Apache-2.0\n'
    )
    wheel = f'Wheel-Version: 1.0\nGenerator: mt_perception\nRoot-Is-Purelib: false\nTag: {tag}\n'
    return {
        f'{stem}.dist-info/METADATA': metadata.encode(),
        f'{stem}.dist-info/WHEEL': wheel.encode(),
    }


def _record(files: dict[str, bytes], own_name: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b'=')
        writer.writerow([name, f'sha256={digest.decode()}', len(content)])
    writer.writerow([own_name, '', ''])
    return text.getvalue().encode()
