# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Images and camera infos find each other by stamp, and no image ever starves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mt_perception.nodes.pairing import CAPACITY, Pair, StampPairing


def test_info_before_image() -> None:
    pairing: StampPairing[str, str] = StampPairing()
    assert pairing.offer_info(5, 'info5') is None
    assert pairing.offer_image(5, 'image5', info_expected=True) == Pair('image5', 'info5')


def test_image_waits_for_the_first_info() -> None:
    pairing: StampPairing[str, str] = StampPairing()
    assert pairing.offer_image(5, 'image5', info_expected=True) is None
    assert pairing.holding
    assert pairing.offer_info(5, 'info5') == Pair('image5', 'info5')
    assert not pairing.holding


def test_a_held_image_does_not_take_the_info_of_another() -> None:
    pairing: StampPairing[str, str] = StampPairing()
    assert pairing.offer_image(5, 'image5', info_expected=True) is None
    assert pairing.offer_info(4, 'info4') is None
    assert pairing.offer_info(6, 'info6') is None
    assert pairing.holding
    assert pairing.offer_info(5, 'info5') == Pair('image5', 'info5')


def test_nobody_sends_infos() -> None:
    pairing: StampPairing[str, str] = StampPairing()
    assert pairing.offer_image(5, 'image5', info_expected=False) == Pair('image5', None)


def test_rare_infos_are_reused_without_waiting() -> None:
    pairing: StampPairing[str, str] = StampPairing()
    pairing.offer_info(1, 'info1')
    for stamp in (2, 3, 4):
        assert pairing.offer_image(stamp, 'image', info_expected=True) == Pair('image', 'info1')


def test_after_one_vain_wait_images_go_ahead() -> None:
    pairing: StampPairing[str, str] = StampPairing()
    assert pairing.offer_image(1, 'image1', info_expected=True) is None
    assert pairing.give_up() == Pair('image1', None)
    assert pairing.give_up() is None
    assert pairing.offer_image(2, 'image2', info_expected=True) == Pair('image2', None)


def test_a_newer_image_replaces_the_held_one() -> None:
    pairing: StampPairing[str, str] = StampPairing()
    assert pairing.offer_image(1, 'image1', info_expected=True) is None
    assert pairing.offer_image(2, 'image2', info_expected=True) == Pair('image2', None)
    assert pairing.offer_info(1, 'info1') is None


def test_time_running_backwards_pairs_at_once() -> None:
    """A looped bag: the same stamps come again, older than all that was seen."""
    pairing: StampPairing[str, int] = StampPairing()
    for _ in range(3):
        for stamp in range(100):
            pairing.offer_info(stamp, stamp)
            assert pairing.offer_image(stamp, 'image', info_expected=True) == Pair('image', stamp)


def test_memory_is_bounded() -> None:
    pairing: StampPairing[str, int] = StampPairing()
    for stamp in range(10 * CAPACITY):
        pairing.offer_info(stamp, stamp)
    assert pairing.offer_image(0, 'image', info_expected=True) == Pair('image', 10 * CAPACITY - 1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=60))
def test_of_two_images_in_a_row_one_goes_ahead(events: list[tuple[bool, int]]) -> None:
    """Whatever the order of arrival, at most every other image is lost and none comes twice."""
    pairing: StampPairing[int, int] = StampPairing()
    out: list[int] = []
    number = 0
    waiting = False
    for is_image, stamp in events:
        if is_image:
            number += 1
            pair = pairing.offer_image(stamp, number, info_expected=True)
            assert not (waiting and pair is None)
            waiting = pair is None
        else:
            pair = pairing.offer_info(stamp, stamp)
            waiting = waiting and pair is None
        if pair is not None:
            out.append(pair.image)
    assert out == sorted(set(out))


def test_the_latest_32_infos_are_kept() -> None:
    for count, found in ((32, 0), (33, 32)):
        pairing: StampPairing[str, int] = StampPairing()
        for stamp in range(count):
            pairing.offer_info(stamp, stamp)
        assert pairing.offer_image(0, 'image', info_expected=True) == Pair('image', found)


def test_a_late_info_ends_the_waiting_until_an_exact_pair() -> None:
    pairing: StampPairing[str, str] = StampPairing()
    pairing.offer_info(1, 'info1')
    assert pairing.offer_image(1, 'image1', info_expected=True) == Pair('image1', 'info1')
    assert pairing.offer_image(2, 'image2', info_expected=True) is None
    assert pairing.give_up() == Pair('image2', 'info1')
    assert pairing.offer_image(3, 'image3', info_expected=True) == Pair('image3', 'info1')
    pairing.offer_info(4, 'info4')
    assert pairing.latest == 'info4'
    assert pairing.offer_image(4, 'image4', info_expected=True) == Pair('image4', 'info4')
    assert pairing.offer_image(5, 'image5', info_expected=True) is None
