# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote host on Ray Serve: two replicas, one of them killed under load."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('ray.serve', reason='needs Ray Serve: pip install "mt_perception[serve,ray]"')
pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
import grpc
import hosts
from hosts import eventually, load, running_host
from plain_client import image, robot

from mt_perception.errors import OptionError
from mt_perception.offload.split_model import RemoteModel
from mt_perception.server.ray_backend import APPLICATION, RayBackend

START_S = 300.0
"""A cluster on a busy machine."""


def replicas() -> list[str]:
    import ray

    actors = ray.util.list_named_actors(all_namespaces=True)
    return [a['name'] for a in actors if f'REPLICA::{APPLICATION}#' in a['name']]


@pytest.mark.skipif('RAY_ADDRESS' not in os.environ, reason='needs a cluster: make test-ray')
def test_two_replicas_serve_and_one_that_is_killed_is_not_missed(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    import ray

    monkeypatch.setattr(hosts, 'PATIENCE_S', START_S)
    backend = RayBackend(folder, replicas=2, most=2)
    with (
        running_host(folder, backend) as running,
        robot(running.target, folder) as client,
    ):
        local = RemoteModel(folder)
        assert client.half is not None
        latent = local.latent(client.half.payload(image()[None], 0))
        found = client.ask(client.request(image())).tensors
        for name, value in local.run(latent[None], local.manifest.tasks).items():
            np.testing.assert_allclose(found[name], value, atol=1e-4)
        status, sentence = client.refused(client.request_of(client.picture(image()), model='x'))
        assert (status, 'serves tiny' in sentence) == (grpc.StatusCode.NOT_FOUND, True)
        before = replicas()
        assert len(before) == 2
        with load(running.target, folder) as statuses:
            assert eventually(lambda: len(statuses) > 50, START_S)
            killed, at_kill = time.monotonic(), len(statuses)
            ray.kill(ray.get_actor(before[0], namespace='serve'))
            assert eventually(
                lambda: before[0] not in replicas() and len(replicas()) == 2, START_S
            )
            replaced_s = time.monotonic() - killed
            at_replacement = len(statuses)
            assert eventually(lambda: len(statuses) > at_replacement + 50, START_S)
        assert set(statuses) == {grpc.StatusCode.OK}
        record_property('requests', len(statuses))
        record_property('before the kill', at_kill)
        record_property('replaced_s', replaced_s)


def test_replicas_have_to_fit() -> None:
    with pytest.raises(OptionError, match='found 3 and 2'):
        RayBackend(Path('x'), replicas=3, most=2)
