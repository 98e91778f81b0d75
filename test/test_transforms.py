# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tree of coordinate frames: paths up and down, loops, and transforms that are none."""

from __future__ import annotations

from types import SimpleNamespace as Message

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import CameraError
from mt_perception.geometry.transforms import TransformTree, rotation_of

QUATERNION = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


def transforms(*rows: tuple[str, str, tuple[float, ...], tuple[float, ...]]) -> Message:
    """A TFMessage of (parent, child, translation, quaternion x y z w)."""
    return Message(
        transforms=[
            Message(
                header=Message(frame_id=parent),
                child_frame_id=child,
                transform=Message(
                    translation=Message(x=t[0], y=t[1], z=t[2]),
                    rotation=Message(x=q[0], y=q[1], z=q[2], w=q[3]),
                ),
            )
            for parent, child, t, q in rows
        ]
    )


@given(QUATERNION)
def test_rotations_are_those_of_the_quaternion(q: tuple[float, ...]) -> None:
    """Oracle: q v q* with Hamilton's product."""
    x, y, z, w = np.array(q) / np.linalg.norm(q)
    u, v = np.array([x, y, z]), np.array([0.3, -1.2, 2.0])
    rotated = v + 2 * w * np.cross(u, v) + 2 * np.cross(u, np.cross(u, v))
    found = rotation_of(*q)
    assert found is not None
    np.testing.assert_allclose(found @ v, rotated, atol=1e-9)


def test_a_path_goes_up_and_down() -> None:
    tree = TransformTree()
    turn = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))  # 90 degrees about z
    tree.update(
        transforms(
            ('base_footprint', 'base_link', (0, 0, 0.1), (0, 0, 0, 1)),
            ('base_link', 'camera', (0.2, 0, 0.3), turn),
            ('/base_link', '/laser', (0.5, 0, 0), (0, 0, 0, 1)),
        )
    )
    up = tree.lookup('base_footprint', 'camera')
    np.testing.assert_allclose(up.rotation @ [1, 0, 0] + up.translation, [0.2, 1, 0.4], atol=1e-9)
    across = tree.lookup('camera', 'laser')
    back = tree.lookup('laser', 'camera')
    there = across.rotation @ np.array([1.0, 2, 3]) + across.translation
    np.testing.assert_allclose(back.rotation @ there + back.translation, [1, 2, 3], atol=1e-9)
    np.testing.assert_allclose(across.translation, [0, -0.3, -0.3], atol=1e-9)


def test_frames_that_are_not_connected_are_named() -> None:
    tree = TransformTree()
    tree.update(
        transforms(('a', 'b', (0, 0, 0), (0, 0, 0, 1)), ('b', 'a', (0, 0, 0), (0, 0, 0, 1)))
    )
    with pytest.raises(CameraError, match="'a' to 'other'"):
        tree.lookup('other', 'a')


def test_only_an_old_transform_between_the_frames_is_refused() -> None:
    tree, none = TransformTree(), (0, 0, 0, 1)
    tree.update(transforms(('base', 'camera', (0, 0, 1), none)))
    tree.update(transforms(('map', 'base', (5, 0, 0), none)), 10.0)
    tree.update(transforms(('base', 'imu', (0, 1, 0), none)), 20.0)
    assert tree.lookup('base', 'camera', 1e9).translation[2] == 1, 'it is static'
    np.testing.assert_allclose(tree.lookup('camera', 'imu', 20.0).translation, [0, 1, -1])
    for target, source in (('camera', 'imu'), ('imu', 'camera')):
        with pytest.raises(CameraError, match='stopped arriving') as raised:
            tree.lookup(target, source, 20.1)
        assert raised.value.reason == 'old_transform'
    tree.update(transforms(('base', 'imu', (0, 2, 0), none)), 21.0)
    np.testing.assert_allclose(tree.lookup('camera', 'imu', 20.1).translation, [0, 2, -1])


def test_invalid_transforms_are_skipped() -> None:
    tree = TransformTree()
    tree.update(transforms(('a', 'b', (1, 0, 0), (0, 0, 0, 1))))
    tree.update(
        transforms(('a', 'b', (np.nan, 0, 0), (0, 0, 0, 1)), ('a', 'b', (9, 0, 0), (0, 0, 0, 0)))
    )
    assert tree.lookup('a', 'b').translation[0] == 1
