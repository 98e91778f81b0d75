# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth from topics of a bag: the message nearest to an image in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import BagError, SourceError
from mt_perception.evaluation.datasets.maps import at_size, valid_metres
from mt_perception.evaluation.datasets.taxonomy import ClassMap
from mt_perception.evaluation.datasets.truth import GroundTruth, TrueObjects
from mt_perception.evaluation.datasets.truth_messages import (
    decode_boxes,
    decode_depth,
    decode_label_names,
    decode_labels,
    names_in,
)
from mt_perception.sources.bag import COMPRESSED_TYPE, IMAGE_TYPE, find_image_topic, stamp_ns
from mt_perception.sources.bag_file import Channel
from mt_perception.sources.bag_reader import BagReader, bag_errors

OFF = 'none'
"""As the name of a topic: do not use this kind of ground truth."""

KEPT_NS = 1_000_000_000
"""Messages older than the newest image by this are dropped: images may be slightly unordered."""


@dataclass(frozen=True)
class TruthTopics:
    """Topics with ground truth.

    Attributes:
        depth: Depth images; None finds the only one, ``none`` uses none.
        boxes: Detection2DArray; None and ``none`` as above.
        labels: Label images (mono8); found only next to a LabelInfo.
    """

    depth: str | None = None
    boxes: str | None = None
    labels: str | None = None


def check_topics(path: Path, topic: str | None, topics: TruthTopics) -> None:
    """Check the topics of a bag without reading messages.

    Args:
        path: The bag.
        topic: The image topic, or None for the only one.
        topics: The topics with ground truth.

    Raises:
        BagError: One is missing or ambiguous; the message lists those that would fit.
    """
    with bag_errors(path), BagReader(path) as reader:
        _choose(reader.channels, find_image_topic(reader, topic), topics, path)


class TopicTruth:
    """The ground truth in a bag's own topics.

    Args:
        path: The bag.
        image_topic: The topic of the images, which is never its own ground truth.
        classes: The labels of the model that is evaluated.
        topics: The topics to use.
        tolerance_ns: Largest difference in time between an image and its ground truth.
        class_names: Names of numeric class ids, if the bag has none.

    Raises:
        BagError: The bag cannot be read, or several topics match.
    """

    def __init__(
        self,
        path: Path,
        image_topic: str,
        classes: ClassMap,
        topics: TruthTopics,
        tolerance_ns: int,
        class_names: Mapping[int, str] | None = None,
    ) -> None:
        self._path = path
        self._classes = classes
        self._names = dict(class_names or {})
        self._streams: dict[str, Nearest] = {}
        self.matched = 0
        with bag_errors(path), BagReader(path) as reader:
            chosen = _choose(reader.channels, image_topic, topics, path)
            boxes = chosen.get('boxes')
            annotated = set(self._names.values()) | (
                names_in(_messages(reader, boxes), self._names) if boxes else set()
            )
            if 'labels' in chosen and not self._names:
                self._names = _label_names(reader, chosen['labels'].topic, path)
        self._exhaustive = classes.exhaustive(annotated)
        self._table = classes.segmentation_table(self._names)
        wanted = {'boxes': classes.detection, 'labels': classes.segmentation, 'depth': True}
        self.topics = {kind: c.topic for kind, c in chosen.items() if wanted[kind]}
        for kind, topic in self.topics.items():
            self._streams[kind] = Nearest(topic_messages(path, topic), tolerance_ns)

    def find(self, stamp: int, size: tuple[int, int]) -> GroundTruth | None:
        """Ground truth of the image with this stamp, of (height, width); None if there is none.

        Raises:
            SourceError: The message of this image is damaged or of another shape.
        """
        found = {kind: stream.at(stamp) for kind, stream in self._streams.items()}
        if all(message is None for message in found.values()):
            return None
        self.matched += 1
        return GroundTruth(
            objects=_known(found.get('boxes'), self._objects),
            segmentation=_known(found.get('labels'), lambda m: self._labels(m, size)),
            segmentation_labels=self._classes.segmentation,
            depth=_known(found.get('depth'), lambda m: _depth(m, size)),
        )

    def check_overlap(self, first_ns: int, last_ns: int) -> None:
        """Make sure that some image had ground truth, if there are topics with it.

        Raises:
            BagError: No message is near an image in time.
        """
        if not self._streams or self.matched:
            return
        spans = '; '.join(
            f'{kind} on {self.topics[kind]} {stream.span}'
            for kind, stream in self._streams.items()
        )
        raise BagError(
            f'bag {self._path}: no ground truth is near any image in time. Images have stamps '
            f'{_seconds(first_ns)} to {_seconds(last_ns)} s; {spans}. Widen --tolerance-ms, name '
            'other topics, or give "none" for the topic to evaluate without it'
        )

    def close(self) -> None:
        """Close the bag."""
        for stream in self._streams.values():
            stream.close()

    def _objects(self, message: Any) -> TrueObjects:
        boxes, names = decode_boxes(message, self._names)
        sides = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64)
        return TrueObjects(
            boxes=boxes,
            class_ids=np.array([self._classes.detection_id(name) for name in names], np.int64),
            crowd=np.zeros(len(names), np.bool_),
            areas=sides.prod(axis=1),
            exhaustive=self._exhaustive,
            labels=self._classes.detection,
        )

    def _labels(self, message: Any, size: tuple[int, int]) -> NDArray[np.uint8]:
        labels: NDArray[np.uint8] = self._table[
            at_size(decode_labels(message), size, 'the label image')
        ]
        return labels


class Nearest:
    """Finds the message of a topic that is nearest to a time.

    Queries mostly rise in time, so a short window over the stream is enough.
    """

    def __init__(self, messages: Iterator[Any], tolerance_ns: int) -> None:
        self._messages = messages
        self._tolerance_ns = tolerance_ns
        self._window: deque[tuple[int, Any]] = deque()
        self._first: int | None = None
        self._newest = -1

    @property
    def span(self) -> str:
        """The range of times so far, as text."""
        if self._first is None:
            return 'has no message'
        return f'{_seconds(self._first)} to {_seconds(self._newest)} s'

    def at(self, stamp: int) -> Any | None:
        """The message nearest to this time, within the tolerance."""
        while self._newest <= stamp + self._tolerance_ns:
            message = next(self._messages, None)
            if message is None:
                break
            time = stamp_ns(message)
            self._first = time if self._first is None else min(self._first, time)
            self._newest = max(self._newest, time)
            self._window.append((time, message))
        while self._window and self._window[0][0] < stamp - self._tolerance_ns - KEPT_NS:
            self._window.popleft()
        near = [
            (abs(time - stamp), index)
            for index, (time, _) in enumerate(self._window)
            if abs(time - stamp) <= self._tolerance_ns
        ]
        return self._window[min(near)[1]][1] if near else None

    def close(self) -> None:
        """Close the stream."""
        self._window.clear()
        if hasattr(self._messages, 'close'):
            self._messages.close()


def _choose(
    connections: list[Channel], image_topic: str, topics: TruthTopics, path: Path
) -> dict[str, Channel]:
    """For each kind of ground truth the given topic, or the only candidate."""
    others = [c for c in connections if c.topic != image_topic]
    images = [c for c in others if c.msgtype in (IMAGE_TYPE, COMPRESSED_TYPE)]
    depth = [c for c in images if 'depth' in c.topic.lower()]
    # A raw topic and its compressed twin are one camera.
    depth = [c for c in depth if c.msgtype == IMAGE_TYPE] or depth
    infos = [c for c in others if c.msgtype.endswith('/LabelInfo')]
    beside = {c.topic.rsplit('/', 1)[0] for c in infos}
    labels = [
        c
        for c in images
        if c.msgtype == IMAGE_TYPE and c not in depth and c.topic.rsplit('/', 1)[0] in beside
    ]
    boxes = [c for c in others if c.msgtype.endswith('/Detection2DArray')]
    chosen = {
        'depth': _one('depth', topics.depth, depth, images, path),
        'boxes': _one('boxes', topics.boxes, boxes, boxes, path),
        'labels': _one('labels', topics.labels, labels, images, path),
    }
    return {kind: connection for kind, connection in chosen.items() if connection is not None}


def _one(
    kind: str,
    topic: str | None,
    likely: list[Channel],
    possible: list[Channel],
    path: Path,
) -> Channel | None:
    if topic == OFF:
        return None
    if topic is not None:
        for connection in possible:
            if connection.topic == topic:
                return connection
        there = ', '.join(sorted({c.topic for c in possible})) or 'none'
        raise BagError(f'bag {path} has no {kind} topic {topic!r}; topics of that type: {there}')
    if len({c.topic for c in likely}) > 1:
        there = ', '.join(sorted({c.topic for c in likely}))
        raise BagError(
            f'bag {path} has several topics that could be the ground truth ({kind}): {there}; '
            f'name one with --{kind}-topic, or give "none"'
        )
    return likely[0] if likely else None


def _label_names(reader: BagReader, topic: str, path: Path) -> dict[int, str]:
    folder = topic.rsplit('/', 1)[0]
    infos = [c for c in reader.channels if c.msgtype.endswith('/LabelInfo')]
    beside = [c for c in infos if c.topic.rsplit('/', 1)[0] == folder] or infos
    for message in _messages(reader, beside[0]) if beside else ():
        return decode_label_names(message)
    raise BagError(
        f'bag {path}: label images on {topic} without a LabelInfo that names their classes; '
        'name a YAML file with --class-names'
    )


def _messages(reader: BagReader, channel: Channel) -> Iterator[Any]:
    for _, message in reader.messages([channel]):
        yield message


def topic_messages(path: Path, topic: str) -> Iterator[Any]:
    """Messages of one topic through a reader of its own, which has its own position."""
    with BagReader(path) as reader:
        for _, message in reader.messages([c for c in reader.channels if c.topic == topic]):
            yield message


def _depth(message: Any, size: tuple[int, int]) -> NDArray[np.float32]:
    return valid_metres(at_size(decode_depth(message), size, 'the depth image'))


def _known(message: Any | None, decode: Callable[[Any], Any]) -> Any:
    try:
        return None if message is None else decode(message)
    except AttributeError as error:
        raise SourceError(f'a message lacks a field of its type: {error}') from error


def _seconds(stamp: int) -> str:
    return f'{stamp // 1_000_000_000}.{stamp // 1_000_000 % 1000:03d}'
