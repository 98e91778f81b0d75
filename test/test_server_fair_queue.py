# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The queue: clients in turn, first in first out for each, batches of one kind, nothing lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.server.fair_queue import Entry, FairQueue, QueueFullError


def entry(client: str, item: int, key: str = 'k') -> Entry[int]:
    return Entry(client, key, 0.0, 1.0, item)


def filled(*entries: Entry[int], per_client: int = 99) -> FairQueue[int]:
    queue: FairQueue[int] = FairQueue(per_client, 999)
    for each in entries:
        queue.put(each)
    return queue


def taken(queue: FairQueue[int], most: int) -> list[int]:
    return [each.item for each in queue.take(most)]


def test_who_sends_much_waits_for_himself() -> None:
    queue = filled(*(entry('greedy', i) for i in range(10)), entry('modest', 100))
    assert [taken(queue, 1) for _ in range(4)] == [[0], [100], [1], [2]]


def test_a_batch_takes_one_of_each_client_and_only_of_one_key() -> None:
    queue = filled(
        entry('a', 1), entry('a', 2), entry('b', 3, 'other'), entry('c', 4), entry('d', 5)
    )
    assert taken(queue, 3) == [1, 4, 5]
    # Whoever did not fit has kept his turn.
    assert taken(queue, 3) == [3]
    assert taken(queue, 3) == [2]
    assert taken(queue, 3) == []


def test_a_client_has_his_share_until_it_is_done() -> None:
    first, second = entry('a', 1), entry('a', 2)
    queue = filled(first, second, per_client=2)
    with pytest.raises(QueueFullError, match='this client has 2 requests'):
        queue.put(entry('a', 3))
    assert taken(queue, 1) == [1]
    with pytest.raises(QueueFullError):
        queue.put(entry('a', 3))
    queue.done(first)
    queue.put(entry('a', 3))
    assert queue.clients == 1


def test_all_together_have_a_limit() -> None:
    queue: FairQueue[int] = FairQueue(1, 2)
    queue.put(entry('a', 1))
    queue.put(entry('b', 2))
    with pytest.raises(QueueFullError, match='2 requests are queued'):
        queue.put(entry('c', 3))


def test_what_nobody_waits_for_is_taken_out() -> None:
    gone = entry('a', 1)
    queue = filled(gone, entry('a', 2))
    queue.remove(gone)
    queue.remove(gone)
    queue.done(gone)
    assert (len(queue), taken(queue, 5), len(queue)) == (1, [2], 0)


@given(
    st.lists(st.tuples(st.sampled_from('abcd'), st.sampled_from('xy')), max_size=40),
    st.integers(1, 5),
)
def test_everything_comes_out_once_in_order_and_in_turn(
    arrivals: list[tuple[str, str]], most: int
) -> None:
    entries = [entry(client, i, key) for i, (client, key) in enumerate(arrivals)]
    queue = filled(*entries)
    batches = []
    while batch := queue.take(most):
        assert len(batch) <= most
        assert len({each.key for each in batch}) == 1
        assert len({each.client for each in batch}) == len(batch)
        batches.append(batch)
        for each in batch:
            queue.done(each)
    out = [each for batch in batches for each in batch]
    assert sorted(each.item for each in out) == list(range(len(entries)))
    for client in 'abcd':
        items = [each.item for each in out if each.client == client]
        assert items == sorted(items)
    assert (len(queue), queue.clients) == (0, 0)
