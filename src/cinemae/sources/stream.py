"""A function over many items in threads: results in order, a bounded number under way, whatever the number of items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

from cinemae.settings import usable_cores

NUM_WORKERS = min(4, usable_cores())
"""Threads that work on different images at the same time; each holds one decoded picture."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def read_ahead(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    num_workers: int = NUM_WORKERS,
    ahead: int = 64,
    pool: Executor | None = None,
) -> Generator[_Result, None, None]:
    """Yield the function of each item, in order.

    `ThreadPoolExecutor.map` takes all items at once; of a million images that would be a million waiting jobs. When the
    generator is closed early, what has not begun is dropped, what has begun is waited for, and no thread is left.

    Args:
        function: Safe to call from several threads.
        items: Taken as needed, in the thread of whoever takes the results.
        num_workers: Threads.
        ahead: Most results that wait to be taken, or are being worked on.
        pool: Threads to use, and to leave running; None for `num_workers` of its own.

    Example:
        >>> list(read_ahead(len, ["a", "bb", ""], num_workers=2))
        [1, 2, 0]
    """
    threads = pool or ThreadPoolExecutor(num_workers, thread_name_prefix="cinemae-ahead")
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        if pool is None:
            threads.shutdown()
