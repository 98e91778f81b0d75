# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A request that has been found to be one this model can serve, and what it asks for."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.errors import PayloadError, ProtocolError
from mt_perception.offload.digest import model_digest
from mt_perception.offload.payload import JPEG, Limits, Payload, unpack
from mt_perception.offload.protocol import Request
from mt_perception.runtime.manifest import Manifest


class UnknownModelError(ProtocolError):
    """A model, or a version of it, that this host does not have."""


@dataclass(frozen=True)
class Job:
    """One frame's work.

    Attributes:
        payload: The features or the picture.
        tensors: The tensors that are wanted, at least one.
        request: What asked for it.
    """

    payload: Payload
    tensors: tuple[str, ...]
    request: Request

    @property
    def key(self) -> tuple[object, ...]:
        """Jobs of equal keys can be run as one batch."""
        return self.payload.kind, self.payload.shape, self.tensors


def admitted(request: Request, manifest: Manifest, limits: Limits) -> Job:
    """Look at a request before it waits, so that it does not wait in vain.

    Raises:
        UnknownModelError: It is for another model.
        ProtocolError: The payload is damaged, of another model, of a size that this one does not
            take, or a tensor is none of its tasks'.
    """
    if request.model != manifest.name or request.version not in ('', manifest.version):
        raise UnknownModelError(
            f'this host serves {manifest.name} {manifest.version}, '
            f'not {request.model} {request.version}'
        )
    served = [name for task in manifest.tasks.values() for name in task.outputs.values()]
    if unknown := set(request.tensors) - set(served):
        raise ProtocolError(f'{min(unknown)!r} is no tensor of a task; there are {served}')
    payload = unpack(request.payload, limits)
    if payload.digest != model_digest(manifest):
        raise PayloadError(
            'model',
            f'the payload was made with another {manifest.name} than the one that this host '
            'serves; copy the same model folder to both machines',
        )
    _check_size(payload, manifest)
    return Job(payload, request.tensors or tuple(dict.fromkeys(served)), request)


def _check_size(payload: Payload, manifest: Manifest) -> None:
    """The network size is one that the model was checked at.

    Raises:
        PayloadError: It is another one, or the model has no such cut.
    """
    spec, cut = manifest.input, manifest.cut
    channels, height, width = payload.shape
    stride, expected = 1, 3
    if payload.kind != JPEG:
        if cut is None or payload.rate >= len(cut.rates):
            raise PayloadError('rate', f'model {manifest.name} has no cut of rate {payload.rate}')
        stride, expected = cut.stride, cut.channels
    sizes = height * stride, width * stride
    if (
        channels != expected
        or not spec.multiple <= min(sizes) <= max(sizes) <= spec.max_size
        or any(size % spec.multiple for size in sizes)
    ):
        raise PayloadError(
            'shape',
            f'the payload is for a network input of {sizes[1]}x{sizes[0]} with {channels} '
            f'channels; expected multiples of {spec.multiple} up to {spec.max_size} and '
            f'{expected} channels',
        )
