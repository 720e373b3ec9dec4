"""sources/stream: order, bounds and an early end of the one read-ahead."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cinemae.sources.stream import read_ahead


def test_results_come_in_order_whichever_is_done_first():
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 * (number == 0))
        return number * number

    assert list(read_ahead(slow_at_first, range(20), num_workers=4)) == [number * number for number in range(20)]


def test_no_more_is_taken_than_asked_for():
    taken = []
    results = read_ahead(lambda number: number, (taken.append(n) or n for n in range(1000)), ahead=5)
    for count in range(1, 20):
        next(results)
        assert len(taken) == count + 5
    results.close()


def test_work_is_done_side_by_side():
    both = threading.Barrier(2, timeout=20)
    assert len(list(read_ahead(lambda _: both.wait(), range(2), num_workers=2))) == 2


@pytest.mark.parametrize("end", ["close", "error", "exhaust"])
def test_no_thread_is_left_and_what_has_not_begun_is_dropped(end: str):
    before, begun = set(threading.enumerate()), []

    def work(number: int) -> int:
        begun.append(number)
        if end == "error" and number == 1:
            raise ArithmeticError("broken on purpose")
        return number

    results = read_ahead(work, range(200), num_workers=2, ahead=100)
    assert next(results) == 0
    assert set(threading.enumerate()) - before
    if end == "close":
        results.close()
    elif end == "error":
        with pytest.raises(ArithmeticError):
            list(results)
    else:
        assert list(results) == list(range(1, 200))
    assert not set(threading.enumerate()) - before
    assert end == "exhaust" or len(begun) <= 104


def test_a_pool_that_was_given_goes_on():
    with ThreadPoolExecutor(1) as pool:
        results = read_ahead(str, range(50), ahead=10, pool=pool)
        assert next(results) == "0"
        results.close()
        assert list(read_ahead(str, range(3), pool=pool)) == ["0", "1", "2"]
