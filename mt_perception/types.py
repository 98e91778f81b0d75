# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The data types of the package: a frame in, a result out. Frozen, numpy, units in docstrings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import OptionError
from mt_perception.geometry.plane import GroundPlane
from mt_perception.reports import Execution, ScaleReport

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DETECTION = 'detection'
DEPTH = 'depth'
SEGMENTATION = 'segmentation'

UNLABELLED = 255
"""The class id of a pixel without a class in every label image."""


PINHOLE = 'pinhole'
FISHEYE = 'fisheye'


@dataclass(frozen=True)
class Intrinsics:
    """A camera (REP-104 K matrix), in pixels of an image of ``width`` × ``height``.

    Attributes:
        fx: Horizontal focal length in pixels.
        fy: Vertical focal length in pixels.
        cx: Column of the principal point in pixels.
        cy: Row of the principal point in pixels.
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        projection: ``pinhole``, or ``fisheye`` for an unrectified image of a wide lens, whose
            focal lengths hold near the centre only.
        distortion: Coefficients of an unrectified image in OpenCV's order: 4, 5, 8, 12 or 14 of
            a pinhole, 4 of a fisheye (equidistant); empty if there is none or it is unknown.

    Example:
        >>> from mt_perception import Intrinsics
        >>> Intrinsics(fx=600, fy=600, cx=320, cy=240, width=640, height=480).width
        640
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    projection: str = PINHOLE
    distortion: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera image and its metadata.

    Attributes:
        image: uint8 (H, W, 3), BGR; it is never changed.
        stamp_ns: Exposure time in nanoseconds since the clock's epoch; 0 if unknown.
        frame_id: Name of the optical frame; every output carries it unchanged.
        intrinsics: The camera at the size of ``image``; None if unknown.
        received_s: ``time.monotonic()`` at which the image arrived; None if it did not arrive
            from outside, for example a file. Deadlines and latencies count from here.
        ground: The ground below the camera, from which ``Options.depth_scale`` may take the
            scale of depth; None takes the one of the options.
        no_ground: Why a wanted ``ground`` is not known; ``ScaleReport.refused`` has it.

    Example:
        >>> import numpy as np
        >>> from mt_perception import Frame, Intrinsics
        >>> image = np.zeros((480, 640, 3), np.uint8)
        >>> frame = Frame(image, intrinsics=Intrinsics(600, 600, 320, 240, 640, 480))
        >>> frame.image.shape
        (480, 640, 3)
    """

    image: NDArray[np.uint8]
    stamp_ns: int = 0
    frame_id: str = ''
    intrinsics: Intrinsics | None = None
    received_s: float | None = None
    ground: GroundPlane | None = None
    no_ground: str = ''


@dataclass(frozen=True, eq=False)
class Detection:
    """One detected object.

    Attributes:
        label: Class name.
        score: Confidence in [0, 1].
        box: float32 (4,): x0, y0, x1, y1 in pixels of the input image.
        class_id: Index of the label among the model's labels.
        track_id: Identity over time; None without tracking.
    """

    label: str
    score: float
    box: NDArray[np.float32]
    class_id: int
    track_id: int | None = None


@dataclass(frozen=True, eq=False)
class Detections:
    """Detected objects, highest score first.

    Iteration yields ``Detection``; an integer index returns one; a slice, a boolean mask or an
    array of indices returns ``Detections``.

    Attributes:
        boxes: float32 (N, 4): x0, y0, x1, y1 in pixels of the input image; inside the image,
            x1 > x0, y1 > y0.
        scores: float32 (N,) in [0, 1].
        class_ids: int64 (N,), indices into ``labels``.
        labels: Class names of the model.
        track_ids: int64 (N,): identity of each object over time; None without tracking.

    Example:
        >>> import numpy as np
        >>> from mt_perception import Detections
        >>> found = Detections(
        ...     boxes=np.array([[0, 0, 20, 40], [5, 5, 9, 9]], np.float32),
        ...     scores=np.array([0.9, 0.4], np.float32),
        ...     class_ids=np.array([1, 0]),
        ...     labels=('car', 'person'),
        ... )
        >>> [f'{one.label} {one.score:.1f}' for one in found]
        ['person 0.9', 'car 0.4']
        >>> len(found.filter(min_score=0.5)), len(found.filter(['car'])), len(found[:1])
        (1, 1, 1)
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]
    track_ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        return (self[index] for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Detection: ...
    @overload
    def __getitem__(
        self, index: slice | list[int] | NDArray[np.bool_] | NDArray[np.integer]
    ) -> Detections: ...
    def __getitem__(
        self, index: int | slice | list[int] | NDArray[np.bool_] | NDArray[np.integer]
    ) -> Detection | Detections:
        if index is None or isinstance(index, (bool, np.bool_)):
            raise IndexError(f'expected an index, a slice, a mask or indices, found {index}')
        if isinstance(index, (int, np.integer)):
            class_id = int(self.class_ids[index])
            return Detection(
                self.labels[class_id],
                float(self.scores[index]),
                self.boxes[index],
                class_id,
                None if self.track_ids is None else int(self.track_ids[index]),
            )
        return replace(
            self,
            boxes=self.boxes[index],
            scores=self.scores[index],
            class_ids=self.class_ids[index],
            track_ids=None if self.track_ids is None else self.track_ids[index],
        )

    def filter(self, labels: Iterable[str] | None = None, min_score: float = 0.0) -> Detections:
        """Return the detections of some classes with at least a score.

        Args:
            labels: Class names to keep; None keeps every class.
            min_score: Lowest score to keep.

        Raises:
            OptionError: A name is not a class of the model.
        """
        keep = self.scores >= min_score
        if labels is not None:
            wanted = class_indices(self.labels, labels)
            keep &= np.isin(self.class_ids, wanted)
        return self[keep]


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Distance along the optical axis (REP-118), at the size of the input image.

    Attributes:
        depth: float32 (H, W), metres; NaN where unknown.
        intrinsics: The camera that converted the network's output to metres.
        assumed_intrinsics: True if the camera was unknown and a typical one was assumed: the
            shape of the scene is right, its scale is a guess.
        relative: True if ``depth`` has no unit: its inverse is right up to an unknown scale and
            shift, and the median of the map is 1.
        scale: Source and uncertainty of the scale.

    Example:
        >>> import numpy as np
        >>> from mt_perception import DepthMap, Intrinsics
        >>> depth = DepthMap(np.full((4, 4), 2.0, np.float32), Intrinsics(4, 4, 2, 2, 4, 4))
        >>> float(np.nanmedian(depth.depth))
        2.0
    """

    depth: NDArray[np.float32]
    intrinsics: Intrinsics
    assumed_intrinsics: bool = False
    relative: bool = False
    scale: ScaleReport = field(default_factory=ScaleReport)


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One class for each pixel, at the size of the input image.

    Attributes:
        class_ids: uint8 (H, W), indices into ``labels``; 255 is unlabelled.
        labels: Class names of the model.
        confidence: uint8 (H, W): 255 times the probability that the pixel's class is right; None
            if it was not requested, or the model has none.

    Example:
        >>> import numpy as np
        >>> from mt_perception import Segmentation
        >>> segmentation = Segmentation(np.array([[0, 1, 1]], np.uint8), ('floor', 'wall'))
        >>> int(segmentation.mask('wall').sum())
        2
    """

    class_ids: NDArray[np.uint8]
    labels: tuple[str, ...]
    confidence: NDArray[np.uint8] | None = None

    def mask(self, label: str) -> NDArray[np.bool_]:
        """Return the pixels of one class, bool (H, W).

        Raises:
            OptionError: The name is not a class of the model.
        """
        (index,) = class_indices(self.labels, [label])
        return np.asarray(self.class_ids == index)


TaskResult = Detections | DepthMap | Segmentation


def check_field_types(settings: DataclassInstance) -> None:
    """Check that the fields of settings have the type of their defaults; lists become tuples.

    Raises:
        OptionError: A field has another type, or a single string where a list is expected.
    """
    for one in fields(settings):
        value = getattr(settings, one.name)
        expected = one.default_factory() if callable(one.default_factory) else one.default
        if isinstance(expected, tuple):
            if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
                raise OptionError(f'{one.name} must be a list of names, found {value!r}')
            object.__setattr__(settings, one.name, tuple(value))
            continue
        kinds: dict[type, tuple[type, ...]] = {
            bool: (bool, np.bool_),
            int: (int, np.integer),
            float: (int, float, np.integer, np.floating),
            str: (str,),
            dict: (Mapping,),
        }
        wrong_bool = isinstance(value, bool) and not isinstance(expected, bool)
        if wrong_bool or not isinstance(value, kinds[type(expected)]):
            raise OptionError(
                f'{one.name} must be of type {type(expected).__name__}, found {value!r}'
            )


def class_indices(labels: tuple[str, ...], names: Iterable[str]) -> list[int]:
    """Return the indices of class names.

    Raises:
        OptionError: A name is not among the labels, or a single string was given.
    """
    if isinstance(names, str):
        raise OptionError(f'expected a list of class names, found the string {names!r}')
    names = list(names)
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise OptionError(
            f'the model has no class {", ".join(map(repr, unknown))}; its classes are '
            f'{", ".join(labels)}'
        )
    return [labels.index(name) for name in names]


@dataclass(frozen=True, eq=False)
class Result:
    """The results for one frame; a task that did not run is None.

    Attributes:
        stamp_ns: The frame's stamp, unchanged.
        frame_id: The frame's frame id, unchanged.
        detections: The objects, or None.
        depth: The depth map, or None.
        segmentation: The label image, or None.
        execution: What was run, and its cost.
        failures: Task → reason, for tasks that were wanted and failed.
        extra: Task → result, for tasks of a model beyond those three.
        image: The frame's image, uint8 (H, W, 3), BGR: the caller's array, not a copy; None if
            there is none.

    Example:
        >>> import numpy as np
        >>> from mt_perception import Pipeline
        >>> result = Pipeline.load('cspnano').run(np.zeros((240, 320, 3), np.uint8))
        >>> result.depth.depth.shape, result.failures
        ((240, 320), {})
        >>> result.draw().shape
        (240, 320, 3)
    """

    stamp_ns: int
    frame_id: str
    detections: Detections | None
    depth: DepthMap | None
    segmentation: Segmentation | None
    execution: Execution
    failures: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, TaskResult] = field(default_factory=dict)
    image: NDArray[np.uint8] | None = field(default=None, repr=False)

    def draw(self, image: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Return a copy of the image with boxes, classes and depth drawn into it.

        Args:
            image: uint8 (H, W, 3), BGR; None takes the frame's own image.

        Raises:
            OptionError: No image is given and none was kept.
        """
        # The drawing code imports OpenCV and the types of this module.
        from mt_perception.image.overlay import draw

        picture = self.image if image is None else image
        if picture is None:
            raise OptionError('this result keeps no image; call draw(image)')
        return draw(picture, self)
