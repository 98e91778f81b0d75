# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The topics of the perception node: their names, message types, and the tasks that they need."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from vision_msgs.msg import Detection2DArray, Detection3DArray

from mt_perception.model.manifest import Manifest
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

DETECTIONS_TOPIC = '~/detections'
DETECTIONS_3D_TOPIC = '~/detections_3d'
DEPTH_TOPIC = '~/depth/image'
DEPTH_CAMERA_TOPIC = '~/depth/camera_info'
RELATIVE_DEPTH_TOPIC = '~/depth/relative'
SEGMENTATION_TOPIC = '~/segmentation/image'
CONFIDENCE_TOPIC = '~/segmentation/confidence'
LABELS_TOPIC = '~/segmentation/label_info'
INSTANCES_TOPIC = '~/instances/image'
POINTS_TOPIC = '~/points'
OBSTACLES_TOPIC = '~/obstacles'
OVERLAY_TOPIC = '~/overlay/image'
# As image_transport names them.
OVERLAY_JPEG_TOPIC = OVERLAY_TOPIC + '/compressed'
DEPTH_PNG_TOPIC = DEPTH_TOPIC + '/compressedDepth'
STATS_TOPIC = '~/stats'

# Topic → its message type and the tasks that it needs. Statistics need none: they report on the
# tasks that other topics need.
TOPICS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    DETECTIONS_TOPIC: (Detection2DArray, (DETECTION,)),
    DETECTIONS_3D_TOPIC: (Detection3DArray, (DETECTION, DEPTH, SEGMENTATION)),
    DEPTH_TOPIC: (Image, (DEPTH,)),
    DEPTH_PNG_TOPIC: (CompressedImage, (DEPTH,)),
    DEPTH_CAMERA_TOPIC: (CameraInfo, (DEPTH,)),
    RELATIVE_DEPTH_TOPIC: (Image, (DEPTH,)),
    SEGMENTATION_TOPIC: (Image, (SEGMENTATION,)),
    CONFIDENCE_TOPIC: (Image, (SEGMENTATION,)),
    INSTANCES_TOPIC: (Image, (DETECTION, SEGMENTATION)),
    POINTS_TOPIC: (PointCloud2, (DEPTH,)),
    OBSTACLES_TOPIC: (PointCloud2, (DEPTH, SEGMENTATION)),
    OVERLAY_TOPIC: (Image, (DETECTION, SEGMENTATION)),
    OVERLAY_JPEG_TOPIC: (CompressedImage, (DETECTION, SEGMENTATION)),
    STATS_TOPIC: (DiagnosticArray, ()),
}

# Topics that exist only if the model serves all of these tasks.
_REQUIRED: Mapping[str, frozenset[str]] = {
    DETECTIONS_3D_TOPIC: frozenset({DETECTION, DEPTH}),
    INSTANCES_TOPIC: frozenset({DETECTION, SEGMENTATION}),
    OBSTACLES_TOPIC: frozenset({DEPTH}),
}


def model_topics(manifest: Manifest) -> Mapping[str, tuple[type, tuple[str, ...]]]:
    """Return the topics of a model: topic → message type and tasks."""
    served = set(manifest.tasks)
    relative = DEPTH in served and manifest.tasks[DEPTH].relative_depth
    # Relative depth has no unit: the metric topics (REP-118) wait until it has a scale.
    absent = set() if relative else {RELATIVE_DEPTH_TOPIC}
    absent |= {topic for topic, tasks in _REQUIRED.items() if not tasks <= served}
    if SEGMENTATION in served and manifest.tasks[SEGMENTATION].confidence is None:
        absent.add(CONFIDENCE_TOPIC)
    return {
        topic: (kind, tasks)
        for topic, (kind, tasks) in TOPICS.items()
        if topic not in absent and (not tasks or served.intersection(tasks))
    }
