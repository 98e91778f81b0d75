# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Depth losses: log depth, its shape and gradients, and a teacher's relative depth."""

from __future__ import annotations

import torch
from torch import Tensor

from mt_perception.training.distributed import mean_over_processes

_SCALES = 3
# The share of pixels with the largest error that the relative loss leaves out (MiDaS).
_TRIMMED = 0.2
_LEAST_VARIANCE = 1e-4
# Below 1 / processes: one image of two processes counts as half an image in each.
_LEAST_IMAGES = 1e-3


def metric_loss(log_depth: Tensor, depth: Tensor) -> Tensor:
    """Return the mean over images of the mean absolute error of log depth, ().

    An image of sparse lidar points counts as much as one with depth everywhere.

    Args:
        log_depth: (B, h, w) predicted log of depth over focal length.
        depth: (B, h, w) depth over focal length, 0 unmeasured.
    """
    measured = depth > 0
    error = (log_depth - depth.clamp_min(1e-9).log()).abs() * measured
    pixels = measured.sum(dim=(1, 2))
    images = mean_over_processes((pixels > 0).sum().float()).clamp_min(_LEAST_IMAGES)
    return (error.sum(dim=(1, 2)) / pixels.clamp_min(1)).sum() / images


def shape_loss(log_depth: Tensor, depth: Tensor) -> Tensor:
    """The standard deviation of the logarithm's error in each image (arXiv 1406.2283, eq. 4, λ=1).

    It ignores a wrong scale of the whole image.

    Args:
        log_depth: (B, h, w) predicted log of depth over focal length.
        depth: (B, h, w) depth over focal length, 0 unmeasured.
    """
    measured = depth > 0
    error = torch.where(measured, log_depth - depth.clamp_min(1e-9).log(), 0.0)
    pixels = measured.sum(dim=(1, 2)).clamp_min(1)
    mean = error.sum(dim=(1, 2)) / pixels
    centred = (error - mean[:, None, None]) * measured
    variance = centred.square().sum(dim=(1, 2)) / pixels
    there = measured.flatten(1).any(dim=1)
    images = mean_over_processes(there.sum().float()).clamp_min(_LEAST_IMAGES)
    # The root has no finite slope at zero.
    return ((variance + _LEAST_VARIANCE).sqrt() * there).sum() / images


def gradient_loss(log_depth: Tensor, depth: Tensor) -> Tensor:
    """Return the multi-scale gradient loss, () (Li and Snavely, arXiv 1804.00607, eq. 3).

    It is invariant to the scale of the whole image and rewards sharp depth edges.
    """
    measured = depth > 0
    error = torch.where(measured, log_depth - depth.clamp_min(1e-9).log(), 0.0)
    total = log_depth.new_zeros(())
    for scale in range(_SCALES):
        step = 2**scale
        e, m = error[:, ::step, ::step], measured[:, ::step, ::step]
        for dim in (1, 2):
            first = (slice(None),) * dim + (slice(None, -1),)
            second = (slice(None),) * dim + (slice(1, None),)
            both = m[first] & m[second]
            change = (e[second] - e[first]).abs() * both
            total = total + change.sum() / mean_over_processes(both.sum().float()).clamp_min(1)
    return total / _SCALES


def relative_loss(log_depth: Tensor, inverse: Tensor) -> Tensor:
    """Return the scale- and shift-invariant loss to a teacher (MiDaS, 1907.01341, eqs. 6, 7).

    Args:
        log_depth: (B, h, w) predicted log of depth over focal length.
        inverse: (B, h, w) the teacher's inverse depth, negative where unknown.

    Returns:
        The trimmed mean absolute error, () float32; zero without any such image.
    """
    total = log_depth.new_zeros(())
    images = 0
    for ours, theirs in zip(log_depth, inverse, strict=True):
        valid = theirs >= 0
        if int(valid.sum()) < valid.numel() // 8:
            continue
        # A common factor cancels below; subtracting the mean log keeps exp in range.
        log_inverse = -ours[valid]
        disparity = (log_inverse - log_inverse.mean().detach()).clamp(-4, 4).exp()
        error = (_standardise(disparity) - _standardise(theirs[valid])).abs()
        kept = int(len(error) * (1 - _TRIMMED))
        total = total + error.topk(kept, largest=False, sorted=False).values.mean()
        images += 1
    return total / mean_over_processes(total.new_tensor(float(images))).clamp_min(_LEAST_IMAGES)


def _standardise(values: Tensor) -> Tensor:
    """Subtract the median and divide by the mean absolute deviation from it."""
    centred = values - values.median()
    return centred / centred.abs().mean().clamp_min(1e-6)
