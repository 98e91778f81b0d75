# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The one family of errors: each says what was expected, what was found and what to do."""

from __future__ import annotations

_LARGE = 1e7


def number(value: float, decimals: int = 1) -> str:
    """A number of a file, message or user, for a sentence: never hundreds of digits.

    Args:
        value: The number; NaN and infinity are allowed.
        decimals: Digits after the point; numbers from 1e7 have an exponent instead.

    Example:
        >>> from mt_perception.errors import number
        >>> number(554.25), number(1e308), number(-0.12345, 3)
        ('554.2', '1e+308', '-0.123')
    """
    return f'{value:.{decimals}f}' if abs(value) < _LARGE else f'{value:.4g}'


class PerceptionError(Exception):
    """Base class of the errors of mt_perception."""


class ImageError(PerceptionError):
    """An input image cannot be used; the frame is rejected and the next one may be fine.

    Args:
        reason: Short machine-readable name of the fault (``short_data``, ``unknown_encoding``
            …): the key under which rejects are counted and reported.
        message: The whole sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CameraError(PerceptionError):
    """Camera intrinsics cannot be used (NaN, zero focal length, another size).

    Args:
        reason: Short machine-readable name of the fault, for counting.
        message: The whole sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ModelError(PerceptionError):
    """A model folder is invalid: its manifest, a checksum, path, graph or tensor.

    Args:
        problems: One sentence for each problem.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        return '\n- '.join([f'{len(self.problems)} problems:', *self.problems])


class OptionError(PerceptionError):
    """An option is out of range, or names something that the model does not have."""


class CalibrationError(OptionError):
    """Depth cannot be calibrated: wrong camera in the calibration, or no known distances."""


class TaskError(PerceptionError):
    """One task failed on one frame; the others still have their results."""


class SourceError(PerceptionError):
    """A source of frames (folder, video, camera, topic) cannot be opened or read."""


class BagError(SourceError):
    """A bag is empty, truncated, of another format, or lacks a requested topic."""


class ProtocolError(PerceptionError):
    """A message over the link is refused: too large, damaged, foreign or not requested."""


class PayloadError(ProtocolError):
    """A payload is refused: damaged, foreign, of another model, or too large.

    Args:
        reason: Short machine-readable name of the fault (``truncated``, ``corrupted``,
            ``foreign``, ``version``, ``oversized``, ``model``, ``shape`` …), for counting.
        message: The whole sentence for a person.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class OffloadError(PerceptionError):
    """The remote host cannot be reached or started, or does not answer as it should."""


class InterfaceError(PerceptionError):
    """The message definitions that ROS needs cannot be built or installed."""


class OutputError(PerceptionError):
    """Results cannot be written: the place is read-only, full, or not a folder."""


class NodeError(PerceptionError):
    """A node that was started as a process of its own did not do its work."""
