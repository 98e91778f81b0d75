# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Number of replicas for a fleet: a simulation of robots that share remote hosts.

    python benchmarks/fleet_queue.py --robots 10000 --hz 5 --service-ms 70 --deadline-ms 400
    python benchmarks/fleet_queue.py --robots 8 --check models/cspnano

A robot sends its newest frame when the answer to the last one has arrived or its deadline has
passed, at most ``--hz`` times a second. Frames that are skipped meanwhile are missed, as late ones
are. Requests whose deadline has passed leave the queue, as at the host. Replicas serve
the clients in the order of arrival, one frame each. Service times are log-normal. ``--check`` runs
a host with one worker, or with ``--ray`` replicas on a local cluster, and real clients, and
simulates it.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Load:
    """The load of a fleet.

    Attributes:
        robots: Number of robots.
        hz: Frames of a robot per second.
        service_s: Mean time of a frame at a replica.
        spread: Standard deviation of the logarithm of that time.
        link_s: Time of request and response on the links.
        deadline_s: After this time a robot uses its own network.
    """

    robots: int
    hz: float
    service_s: float
    spread: float
    link_s: float
    deadline_s: float


@dataclass
class Outcome:
    """The result of a simulation or a measurement."""

    latencies_s: list[float] = field(default_factory=list)
    offered: float = 0.0
    busy_s: float = 0.0

    @property
    def p99_s(self) -> float:
        return float(np.quantile(self.latencies_s, 0.99)) if self.latencies_s else math.inf

    @property
    def missed(self) -> float:
        """Share of the robots' frames without an answer in time."""
        return max(0.0, 1 - len(self.latencies_s) / self.offered)


def simulate(load: Load, replicas: int, seconds: float, seed: int = 0) -> Outcome:
    """Simulate the fleet; the first tenth of the time is not counted."""
    random_ = random.Random(seed)
    mu = math.log(load.service_s) - load.spread**2 / 2
    period_s = 1 / load.hz
    found = Outcome(offered=0.9 * seconds * load.robots * load.hz)
    # (time, number, kind, robot): kinds 0 a frame, 1 a replica is free.
    number = load.robots
    events = [(random_.random() * period_s, i, 0, i) for i in range(load.robots)]
    heapq.heapify(events)
    waiting: deque[tuple[float, int]] = deque()
    free = replicas

    def again(robot: int, sent_s: float, ready_s: float) -> None:
        nonlocal number
        number += 1
        due_s = max(ready_s, sent_s + period_s * random_.uniform(0.95, 1.05))
        heapq.heappush(events, (due_s, number, 0, robot))

    while events and events[0][0] < seconds:
        now_s, _, kind, robot = heapq.heappop(events)
        if kind == 0:
            waiting.append((now_s, robot))
        else:
            free += 1
        while free and waiting:
            sent_s, robot = waiting.popleft()
            counted = seconds / 10 < sent_s
            limit_s = sent_s + load.deadline_s - load.link_s
            if now_s > limit_s:
                again(robot, sent_s, sent_s + load.deadline_s)
                continue
            free -= 1
            took_s = random_.lognormvariate(mu, load.spread)
            number += 1
            heapq.heappush(events, (now_s + took_s, number, 1, robot))
            found.busy_s += took_s
            latency_s = now_s + took_s - sent_s + load.link_s
            if counted and latency_s <= load.deadline_s:
                found.latencies_s.append(latency_s)
            again(robot, sent_s, sent_s + min(latency_s, load.deadline_s))
    return found


def needed(load: Load, missed: float, seconds: float) -> tuple[int, Outcome]:
    """The fewest replicas with at most a share of missed frames."""
    low = max(1, math.floor(load.robots * load.hz * load.service_s * 0.8))
    high = low
    while (found := simulate(load, high, seconds)).missed > missed:
        low, high = high + 1, math.ceil(high * 1.15) + 1
    while low < high:
        middle = (low + high) // 2
        outcome = simulate(load, middle, seconds)
        if outcome.missed <= missed:
            high, found = middle, outcome
        else:
            low = middle + 1
    return high, found


@dataclass(frozen=True)
class Scaling:
    """Replicas on Ray Serve.

    Attributes:
        least: Replicas at the start, and at least; 0 is a host without Ray, with one worker.
        most: Replicas at most.
        kill: Whether one is killed after half of the time.
    """

    least: int = 0
    most: int = 0
    kill: bool = False


class ReplicaWatch:
    """Counts the replicas of the cluster on this machine, and kills one on demand.

    Attributes:
        changes: (seconds since the start, replicas) at each change.
    """

    def __init__(self) -> None:
        import ray

        self._ray = ray
        ray.init(address='auto', log_to_driver=False)
        self._start_s = time.monotonic()
        self._ended = threading.Event()
        self.changes = [(0.0, len(self.names()))]
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def names(self) -> list[str]:
        """Names of the replicas."""
        from mt_perception.server.ray_backend import APPLICATION

        actors = self._ray.util.list_named_actors(all_namespaces=True)
        return [a['name'] for a in actors if f'REPLICA::{APPLICATION}#' in a['name']]

    def kill(self) -> None:
        """Kill a replica."""
        name = self.names()[0]
        print(f'  {time.monotonic() - self._start_s:.1f} s: {name[-8:]} killed')
        self._ray.kill(self._ray.get_actor(name, namespace='serve'))

    def close(self) -> None:
        """End."""
        self._ended.set()
        self._thread.join()
        self._ray.shutdown()

    def _watch(self) -> None:
        while not self._ended.wait(0.25):
            count = len(self.names())
            if count != self.changes[-1][1]:
                self.changes.append((time.monotonic() - self._start_s, count))


def measured(
    folder: Path, load: Load, seconds: float, scaling: Scaling
) -> tuple[Outcome, list[float], float]:
    """Real clients at a host; also the host's times in seconds, and the mean of the replicas."""
    import grpc
    from plain_client import image, robot

    from mt_perception.evaluation.link import host_process

    found, times, lock = Outcome(), [], threading.Lock()
    size = (320, 416)
    options = ['--workers', '1', '--threads', '1']
    if scaling.least:
        host_process.PATIENCE_S = 600.0  # The start of a cluster.
        replicas = ['--replicas', f'{scaling.least}', '--max-replicas', f'{scaling.most}']
        options = ['--backend', 'ray', *replicas]
    count = 1.0
    with host_process.HostProcess(folder, 0, *options) as host:

        def run(number: int) -> None:
            with robot(host.address, folder) as client:
                request = client.request(image(number, size), rate=2)
                due_s = time.monotonic() + random.random() / load.hz
                while due_s < end_s:
                    time.sleep(max(0.0, due_s - time.monotonic()))
                    sent_s = time.monotonic()
                    try:
                        answer = client.ask(request)
                    except grpc.RpcError as error:
                        print(f'  a request failed: {error.code().name} {error.details()}')
                        continue
                    took_s = time.monotonic() - sent_s
                    due_s = max(time.monotonic(), sent_s + 1 / load.hz)
                    with lock:
                        times.append(answer.server_ms['compute_ms'] * 1e-3)
                        found.latencies_s.append(took_s)

        watch = ReplicaWatch() if scaling.least else None
        start_s = time.monotonic()
        end_s = start_s + seconds
        threads = [threading.Thread(target=run, args=(i,)) for i in range(load.robots)]
        for thread in threads:
            thread.start()
        if watch is not None and scaling.kill:
            time.sleep(seconds / 2)
            watch.kill()
        for thread in threads:
            thread.join()
        if watch is not None:
            watch.close()
            count = mean_count(watch.changes, time.monotonic() - start_s)
            changes = ', '.join(f'{n} at {at_s:.1f} s' for at_s, n in watch.changes)
            print(f'  replicas: {changes}; mean {count:.2f}')
    return found, times, count


def mean_count(changes: list[tuple[float, int]], seconds: float) -> float:
    """Mean over time of a number that changes at given times."""
    ends = [at_s for at_s, _ in changes[1:]] + [seconds]
    return sum(n * (end - at_s) for (at_s, n), end in zip(changes, ends, strict=True)) / seconds


def check(folder: Path, load: Load, seconds: float, scaling: Scaling) -> None:
    """Print a measured run beside its simulation."""
    real, times, count = measured(folder, load, seconds, scaling)
    if not real.latencies_s:
        raise SystemExit(f'{load.robots} robots at {load.hz:g} Hz: no request was answered')
    logs = np.log(times)
    link_s = max(0.0, float(np.quantile(real.latencies_s, 0.05) - np.quantile(times, 0.05)))
    same = Load(load.robots, load.hz, float(np.mean(times)), float(logs.std()), link_s, 1e9)
    # With Ray one request more than replicas is under way, and its time includes the wait there.
    servers = round(count) + 1 if scaling.least else 1
    simulated = simulate(same, servers, seconds)
    print(f'{load.robots} robots at {load.hz:g} Hz, host {same.service_s * 1e3:.0f} ms a frame')
    for name, found in (('measured', real), ('simulated', simulated)):
        p50, p99 = np.quantile(found.latencies_s, (0.5, 0.99)) * 1e3
        rate = len(found.latencies_s) / seconds / (0.9 if name == 'simulated' else 1)
        print(f'  {name:9} {rate:6.1f} frames/s, p50 {p50:5.0f} ms, p99 {p99:5.0f} ms')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--robots', type=int, nargs='+', default=[100, 1000, 10_000])
    parser.add_argument('--hz', type=float, default=5.0)
    parser.add_argument('--service-ms', type=float, default=70.0)
    parser.add_argument('--spread', type=float, default=0.15)
    parser.add_argument('--link-ms', type=float, default=40.0, help='Request and response.')
    parser.add_argument('--deadline-ms', type=float, default=400.0)
    parser.add_argument('--payload-bytes', type=float, nargs=2, default=(7563.0, 3000.0),
                        help='Of a request and of a response.')  # fmt: skip
    parser.add_argument('--missed', type=float, default=0.02, help='Share of frames.')
    parser.add_argument('--seconds', type=float, default=20.0)
    parser.add_argument('--check', type=Path, help='A model folder with a split.')
    parser.add_argument('--ray', type=int, default=0, help='Replicas on Ray Serve for --check.')
    parser.add_argument('--ray-most', type=int, default=0, help='Largest number of replicas.')
    parser.add_argument('--kill', action='store_true', help='Kill a replica in the middle.')
    given = parser.parse_args()
    times_s = (given.service_ms / 1e3, given.spread, given.link_ms / 1e3, given.deadline_ms / 1e3)
    if given.check is not None:
        for robots in given.robots:
            scaling = Scaling(given.ray, max(given.ray, given.ray_most), given.kill)
            check(given.check, Load(robots, given.hz, *times_s), given.seconds, scaling)
        return
    print(f'{given.hz:g} Hz, {given.service_ms:g} ms a frame, deadline {given.deadline_ms:g} ms, '
          f'at most {given.missed:.1%} missed')  # fmt: skip
    print('robots  replicas  utilisation  p50 ms  p99 ms  missed  Mbit/s in  Mbit/s out')
    for robots in given.robots:
        load = Load(robots, given.hz, *times_s)
        replicas, found = needed(load, given.missed, given.seconds)
        p50 = float(np.median(found.latencies_s)) * 1e3
        inward, outward = (8e-6 * robots * given.hz * size for size in given.payload_bytes)
        print(f'{robots:6} {replicas:9} {found.busy_s / replicas / given.seconds:12.2f} '
              f'{p50:7.0f} {found.p99_s * 1e3:7.0f} {found.missed:7.2%} '
              f'{inward:10.0f} {outward:11.0f}')  # fmt: skip


if __name__ == '__main__':
    main()
