# SPDX-License-Identifier: Apache-2.0
import threading
from contextlib import closing

import pytest

from fedpac_me.data.prefetch import prefetched


def test_items_come_in_their_order_and_all_of_them():
    assert list(prefetched(iter(range(5)))) == [0, 1, 2, 3, 4]
    assert list(prefetched(iter(()))) == []


def test_the_next_item_is_made_while_one_is_in_use():
    second_made = threading.Event()

    def items():
        yield 1
        second_made.set()
        yield 2

    with closing(prefetched(items())) as ahead:
        assert next(ahead) == 1
        assert second_made.wait(timeout=10)


def test_what_goes_wrong_is_raised_where_the_items_are_used():
    def items():
        yield 1
        raise ValueError("broken")

    ahead = prefetched(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="broken"):
        next(ahead)


def test_leaving_early_leaves_no_thread_behind():
    before = threading.active_count()
    with closing(prefetched(iter(range(100)))) as ahead:
        next(ahead)
    assert threading.active_count() == before
