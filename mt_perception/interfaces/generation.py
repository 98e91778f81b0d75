# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Generates C, C++ and Python sources of messages with rosidl, without cmake."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mt_perception.interfaces.dispatch import dispatch_source
from mt_perception.interfaces.package import InterfacePackage

VISIBILITY_TEMPLATES = (
    'rosidl_generator_c',
    'rosidl_typesupport_fastrtps_c',
    'rosidl_typesupport_introspection_c',
)


@dataclass(frozen=True)
class GeneratedSources:
    """The folders of the generated sources.

    Attributes:
        include: Folder to put on the compiler's include path.
        c_family: Folder of the C and C++ sources.
        python: Folder of the Python package, with its C extension's sources.
        idl: Folder of the IDL files.
        descriptions: Folder of the type descriptions (JSON).
    """

    include: Path
    c_family: Path
    python: Path
    idl: Path
    descriptions: Path


def generate(package: InterfacePackage, build: Path) -> GeneratedSources:
    """Run all generators that Python with Fast DDS needs.

    Args:
        package: The interface package.
        build: An empty folder for the output.

    Returns:
        The folders of the generated sources.
    """
    sources = GeneratedSources(
        include=build / 'include',
        c_family=build / 'include' / package.name,
        python=build / 'python' / package.name,
        idl=build / 'idl' / 'msg',
        descriptions=build / 'descriptions' / package.name,
    )
    # The generators report their progress with print.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        _run_generators(package, sources, build)
    _write_visibility_headers(package, sources)
    (sources.c_family / 'msg' / 'dispatch.c').write_text(dispatch_source(package))
    return sources


def type_hashes(sources: GeneratedSources) -> dict[str, str]:
    """Message name → RIHS01 hash, by which DDS peers compare their types (REP-2016)."""
    hashes = {}
    for path in sorted((sources.descriptions / 'msg').glob('*.json')):
        description = json.loads(path.read_text(encoding='utf-8'))
        hashes[path.stem] = str(description['type_hashes'][0]['hash_string'])
    return hashes


def _run_generators(package: InterfacePackage, sources: GeneratedSources, build: Path) -> None:
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_c import generate_c
    from rosidl_generator_py import generate_py
    from rosidl_generator_type_description import generate_type_hash
    from rosidl_typesupport_fastrtps_c import generate_typesupport_fastrtps_c
    from rosidl_typesupport_introspection_c import generate_c as generate_introspection_c

    for name in package.messages:
        convert_msg_to_idl(package.source, package.name, Path('msg', f'{name}.msg'), sources.idl)

    def arguments(generator: str, output: Path, **more: Any) -> str:
        return _write_arguments(package, build, generator, output, more)

    share = package.prefix / 'share'
    includes = [f'{name}:{share / name}' for name in package.dependencies]
    generate_type_hash(arguments('type_description', sources.descriptions, include_paths=includes))
    generate_c(
        arguments(
            'rosidl_generator_c',
            sources.c_family,
            type_description_tuples=[
                f'msg/{name}.idl:{sources.descriptions}/msg/{name}.json'
                for name in package.messages
            ],
            ros_interface_files=[
                str(package.source / 'msg' / f'{name}.msg') for name in package.messages
            ],
        )
    )
    generate_typesupport_fastrtps_c(arguments('rosidl_typesupport_fastrtps_c', sources.c_family))
    generate_introspection_c(arguments('rosidl_typesupport_introspection_c', sources.c_family))
    generate_py(arguments('rosidl_generator_py', sources.python), ['rosidl_typesupport_c'])


def _write_arguments(
    package: InterfacePackage, build: Path, generator: str, output: Path, more: dict[str, Any]
) -> str:
    """Write the argument file of a rosidl generator."""
    share = package.prefix / 'share'
    templates = share / generator / 'resource'
    arguments = {
        'package_name': package.name,
        'output_dir': str(output),
        'template_dir': str(templates) if templates.is_dir() else '',
        'idl_tuples': [f'{build}/idl:msg/{name}.idl' for name in package.messages],
        'ros_interface_dependencies': [
            f'{name}:{path}'
            for name in package.dependencies
            for path in sorted((share / name / 'msg').glob('*.idl'))
        ],
        'target_dependencies': [],
        **more,
    }
    path = build / f'{generator}.json'
    path.write_text(json.dumps(arguments), encoding='utf-8')
    return str(path)


def _write_visibility_headers(package: InterfacePackage, sources: GeneratedSources) -> None:
    """Write the headers that cmake's configure_file creates otherwise."""
    for generator in VISIBILITY_TEMPLATES:
        header = f'{generator}__visibility_control.h'
        template = package.prefix / 'share' / generator / 'resource' / f'{header}.in'
        text = template.read_text(encoding='utf-8')
        text = text.replace('@PROJECT_NAME@', package.name)
        text = text.replace('@PROJECT_NAME_UPPER@', package.name.upper())
        (sources.c_family / 'msg' / header).write_text(text)
