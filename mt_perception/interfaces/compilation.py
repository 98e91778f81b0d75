# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compiles generated sources to one Python extension with a C and a C++ compiler."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mt_perception.errors import InterfaceError
from mt_perception.interfaces.generation import GeneratedSources
from mt_perception.interfaces.package import InterfacePackage

RUNTIME_HEADERS = (
    'fastcdr',
    'rcpputils',
    'rcutils',
    'rmw',
    'rosidl_dynamic_typesupport',
    'rosidl_runtime_c',
    'rosidl_runtime_cpp',
    'rosidl_typesupport_c',
    'rosidl_typesupport_fastrtps_c',
    'rosidl_typesupport_fastrtps_cpp',
    'rosidl_typesupport_interface',
    'rosidl_typesupport_introspection_c',
)

RUNTIME_LIBRARIES = (
    'rosidl_typesupport_fastrtps_c',
    'rosidl_typesupport_fastrtps_cpp',
    'rosidl_typesupport_c',
    'rosidl_typesupport_introspection_c',
    'rosidl_runtime_c',
    'rcutils',
    'rmw',
)

MESSAGE_LIBRARIES = (
    'rosidl_generator_c',
    'rosidl_generator_py',
    'rosidl_typesupport_c',
    'rosidl_typesupport_fastrtps_c',
    'rosidl_typesupport_introspection_c',
)

MESSAGE_CHARACTERS = 2000
"""Length of a compiler's output in an error message."""


def compile_extension(package: InterfacePackage, sources: GeneratedSources, build: Path) -> Path:
    """Compile and link ``<package>_s__rosidl_typesupport_c.<python tag>.so``.

    Args:
        package: The interface package.
        sources: The generated sources.
        build: Folder for objects and the result.

    Returns:
        The extension.

    Raises:
        InterfaceError: A compiler or Python's headers are missing, or compilation fails.
    """
    compilers = find_compilers()
    flags = _compiler_flags(package, sources)
    build.mkdir(parents=True, exist_ok=True)

    def compile_one(source: Path) -> str:
        target = build / f'{source.stem}.o'
        command = [*compilers[source.suffix], *flags, '-c', str(source), '-o', str(target)]
        _run(command, f'compiling {source.name}')
        return str(target)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        objects = list(pool.map(compile_one, _translation_units(package, sources, build)))
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    extension = build / f'{package.name}_s__rosidl_typesupport_c{suffix}'
    # site-packages/<package>/ lies three levels below the lib/ that holds ROS's libraries.
    command = [*compilers['.cpp'], '-shared', '-s', '-o', str(extension), *objects]
    command += ['-Wl,--as-needed', '-Wl,-rpath,$ORIGIN/../../../', *_libraries(package)]
    _run(command, f'linking {extension.name}')
    return extension


def find_compilers() -> dict[str, list[str]]:
    """File suffix → compiler command; ``CC`` and ``CXX`` have precedence.

    Raises:
        InterfaceError: A compiler or Python's headers are missing.
    """
    found = {}
    for suffix, variable, default, standard in (
        ('.c', 'CC', 'gcc', '-std=c11'),
        ('.cpp', 'CXX', 'g++', '-std=c++17'),
    ):
        command = shlex.split(os.environ.get(variable, default))
        if shutil.which(command[0]) is None:
            raise InterfaceError(
                f'no compiler {command[0]!r}; vision_msgs is built from source because this '
                'Python has no vision_msgs. Install one (Debian, Ubuntu: apt install g++), or '
                'install ROS 2 with vision_msgs from apt and source it'
            )
        found[suffix] = [*command, standard]
    headers = Path(sysconfig.get_path('include'))
    if not (headers / 'Python.h').is_file():
        version = sysconfig.get_python_version()
        raise InterfaceError(
            f'no Python.h in {headers}; install the headers of this Python '
            f'(Debian, Ubuntu: apt install python{version}-dev)'
        )
    return found


def _compiler_flags(package: InterfacePackage, sources: GeneratedSources) -> list[str]:
    include = package.prefix / 'include'
    folders = [sources.include, include]
    folders += [include / name for name in (*package.dependencies, *RUNTIME_HEADERS)]
    folders += [Path(sysconfig.get_path('include')), Path(np.get_include())]
    # Warnings of generated code are suppressed (-w).
    flags = ['-O1', '-fPIC', '-w', f'-DROS_PACKAGE_NAME="{package.name}"']
    return flags + [f'-I{folder}' for folder in folders if folder.is_dir()]


def _translation_units(
    package: InterfacePackage, sources: GeneratedSources, build: Path
) -> list[Path]:
    """A few large files instead of a hundred small ones: three times faster to compile.

    Descriptions are compiled separately, because static names repeat in them.
    """
    c_files = sorted(sources.c_family.rglob('*.c'))
    apart = [f for f in c_files if f.name.endswith('__description.c') or f.stem == 'dispatch']
    together = {
        'support.cpp': sorted(sources.c_family.rglob('*.cpp')),
        'messages.c': [file for file in c_files if file not in apart],
        'conversions.c': sorted((sources.python / 'msg').glob('*_s.c')),
    }
    units = []
    for name, files in together.items():
        unit = build / name
        unit.write_text(''.join(f'#include "{file}"\n' for file in files))
        units.append(unit)
    entry_point = sources.python / f'_{package.name}_s.ep.rosidl_typesupport_c.c'
    return [*units, *apart, entry_point]


def _libraries(package: InterfacePackage) -> list[str]:
    folder = package.prefix / 'lib'
    names = [
        f'{dependency}__{kind}'
        for dependency in package.dependencies
        for kind in MESSAGE_LIBRARIES
    ]
    flags = [f'-l{name}' for name in names if (folder / f'lib{name}.so').is_file()]
    # Fast CDR ships without the unversioned link that -lfastcdr needs.
    fastcdr = sorted(folder.glob('libfastcdr.so*'), key=lambda path: len(path.name))
    if not fastcdr:
        raise InterfaceError(f'no libfastcdr.so in {folder}; install ros-jazzy-rmw-fastrtps-cpp')
    return [
        f'-L{folder}',
        *flags,
        *(f'-l{name}' for name in RUNTIME_LIBRARIES),
        f'-l:{fastcdr[0].name}',
    ]


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InterfaceError(f'{what} failed:\n{done.stderr[:MESSAGE_CHARACTERS]}')
