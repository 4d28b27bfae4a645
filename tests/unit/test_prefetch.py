# SPDX-License-Identifier: Apache-2.0
import threading
from contextlib import closing

import pytest
import torch

from fedpac_me.data.crops import Batch
from fedpac_me.data.prefetch import prefetched, ready_for


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


@pytest.mark.parametrize(("device", "locked"), [("cpu", 0), ("cuda", 6)])
def test_batches_for_a_gpu_lie_in_page_locked_memory_before_they_are_wanted(monkeypatch, device, locked):
    threads = []

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        threads.append(threading.current_thread().name)
        return tensor.clone()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    image, flags = torch.ones(1, 4, 2, 2, 2), torch.ones(1, 4)
    batch = Batch(image, flags, image[:, :3], (1,), flags, image + 1, flags)
    (found,) = prefetched(ready_for(torch.device(device), iter([batch])))
    assert len(threads) == locked and all(name.startswith("next_batch") for name in threads)
    assert found.experts == (1,) and torch.equal(found.second, batch.second)
