# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""vision_msgs as we build it: the same types as everyone's, and it works over DDS."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from mt_perception.errors import InterfaceError
from mt_perception.interfaces.dispatch import snake_case

pytest.importorskip('rosidl_generator_c', reason='needs ROS 2 from pip')

from ros_graph import DOMAIN_ID

from mt_perception.interfaces import install
from mt_perception.interfaces.compilation import compile_extension
from mt_perception.interfaces.generation import GeneratedSources, generate, type_hashes
from mt_perception.interfaces.package import InterfacePackage, read_package, ros_prefix

# RIHS01 hashes of vision_msgs 4.1.1: peers with other ones refuse to talk to us.
HASHES = {
    'BoundingBox2D': '008eacbb0cf8f26e83795547bed013eec3675485ef386ec056d80eaaf1c1ce2f',
    'BoundingBox2DArray': '2464e82838009386d371b523211c21c91d74d313fcdd6788223c531d621cf691',
    'BoundingBox3D': 'bbb73a65c163d7f9bb29009c7bde9f7faa576bd2d23299c4511d19230dab4698',
    'BoundingBox3DArray': 'a81938db9576b10c2eecd7c5a5da3eac496efd00221b25ed051dfbc81fb56da6',
    'Classification': 'f74db28d0eaef3afb78f48bf2161cd709a1383a0309d3454383b25be11345143',
    'Detection2D': '0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea',
    'Detection2DArray': '214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968',
    'Detection3D': 'ddd703be132ab0b69d33121f1bb034132bfbb3b0ac5f9fb1516005ba1c8a265b',
    'Detection3DArray': '793f5eab9595ac1c0da07873cc859db42eae51f0ee76056db8562515d830e018',
    'LabelInfo': '3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
    'ObjectHypothesis': '51da43cec11c01957a64d1e05a24acd18aae7745ec30b74348ad5f6d634f7f90',
    'ObjectHypothesisWithPose': '41c12344c0396c48b81df12467c192d99b2a0eb1463c5c37194e4223251c80bc',
    'Point2D': 'eab0e83f44ab4de92ceaf76dd7d0e7638f2bdd1d16ffbe16c7a136c48e407247',
    'Pose2D': 'b0b5d1d7b4c20dd4fcde3ed1d4b289a919290572007d67a97043814db25d3648',
    'VisionClass': '1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a',
    'VisionInfo': '95d3116a17484ad91c9a2686e1d54890bbfc3ff6c6a2de137738c4950d45d284',
}

ROUND_TRIP = """
import sys, time, rclpy, vision_msgs
from pathlib import Path
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose
assert Path(vision_msgs.__file__).is_relative_to(sys.argv[1]), vision_msgs.__file__
rclpy.init()
node = rclpy.create_node('round_trip')
got = []
node.create_subscription(Detection2DArray, 'detections', got.append, 1)
publisher = node.create_publisher(Detection2DArray, 'detections', 1)
sent = Detection2DArray()
sent.header.frame_id = 'camera_optical'
for i in range(3):
    detection = Detection2D(id=str(i))
    detection.bbox.center.position.x = 10.5 * i
    detection.bbox.size_x = 4.25
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = 'person'
    hypothesis.hypothesis.score = 0.5
    detection.results.append(hypothesis)
    sent.detections.append(detection)
end = time.monotonic() + 20
while not got and time.monotonic() < end:
    publisher.publish(sent)
    rclpy.spin_once(node, timeout_sec=0.1)
assert got and got[0] == sent, got
node.destroy_node()
rclpy.try_shutdown()
"""


Generated = tuple[InterfacePackage, GeneratedSources]


@pytest.fixture(scope='module')
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GeneratedSources]:
    """The wheel, and the sources that it was built from."""
    kept = []

    def kept_sources(package: InterfacePackage, folder: Path) -> GeneratedSources:
        kept.append(generate(package, folder))
        return kept[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(install, 'generate', kept_sources)
        wheel = install.build_wheel(install.VISION_MSGS, tmp_path_factory.mktemp('built'))
    return wheel, kept[0]


@pytest.fixture(scope='module')
def generated(built: tuple[Path, GeneratedSources]) -> Generated:
    return read_package(install.VISION_MSGS, ros_prefix()), built[1]


def test_type_hashes_are_those_of_vision_msgs(generated: Generated) -> None:
    package, sources = generated
    hashes = type_hashes(sources)
    assert hashes == {name: f'RIHS01_{value}' for name, value in HASHES.items()}
    assert package.version == '4.1.1'


def test_the_wheel_works_over_dds(built: tuple[Path, GeneratedSources], tmp_path: Path) -> None:
    wheel = built[0]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert any(name.endswith('share/vision_msgs/msg/Detection2DArray.msg') for name in names)
    assert any(name.endswith('ament_index/resource_index/packages/vision_msgs') for name in names)
    target = tmp_path / 'installed'
    pip = [sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-index', '--target']
    subprocess.run([*pip, str(target), str(wheel)], check=True, capture_output=True)
    environment = {
        **os.environ,
        'PYTHONPATH': str(target),
        'ROS_DOMAIN_ID': str(DOMAIN_ID),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    done = subprocess.run(
        [sys.executable, '-c', ROUND_TRIP, str(target)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_built_where_vision_msgs_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip('vision_msgs')
    pytest.importorskip('tf2_msgs')
    monkeypatch.setenv('CC', 'no-such-compiler')
    assert install.ensure_interfaces() == ()


def test_a_missing_compiler_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('CXX', 'no-such-compiler')
    with pytest.raises(InterfaceError, match=r"no compiler 'no-such-compiler'.*apt install g\+\+"):
        install.build_wheel(install.VISION_MSGS, tmp_path)


def test_missing_headers_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sysconfig.get_path
    monkeypatch.setattr(
        'sysconfig.get_path', lambda name: str(tmp_path) if name == 'include' else real(name)
    )
    with pytest.raises(InterfaceError, match=r'no Python\.h.*apt install python3\.\d+-dev'):
        install.build_wheel(install.VISION_MSGS, tmp_path)


def test_a_compiler_that_fails_is_quoted(
    generated: Generated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('CC', 'false')
    monkeypatch.setenv('CXX', 'false')
    with pytest.raises(InterfaceError, match=r'compiling .* failed'):
        compile_extension(*generated, tmp_path)


def test_sourced_ros_without_vision_msgs_is_told_about_apt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    with pytest.raises(
        InterfaceError, match='apt install ros-humble-vision-msgs ros-humble-tf2-msgs'
    ):
        install.ensure_interfaces()


def test_a_folder_without_messages_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'package.xml').write_text('<name>empty</name><version>1.0.0</version>')
    with pytest.raises(InterfaceError, match=r'has no msg/\*\.msg'):
        read_package(tmp_path, tmp_path)


def test_the_message_of_tf_is_that_of_ros(tmp_path: Path) -> None:
    package = read_package(install.PACKAGES[1], ros_prefix())
    assert type_hashes(generate(package, tmp_path)) == {
        'TFMessage': 'RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087'
    }


@pytest.mark.parametrize(
    ('name', 'file'),
    [
        ('BoundingBox2D', 'bounding_box2_d'),
        ('Detection2DArray', 'detection2_d_array'),
        ('LabelInfo', 'label_info'),
    ],
)
def test_file_names_are_those_of_rosidl(name: str, file: str) -> None:
    assert snake_case(name) == file
