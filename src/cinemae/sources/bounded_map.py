"""A function over many items in threads: results in order, only so many under way, whatever the number of items."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

NUM_WORKERS = min(4, os.cpu_count() or 1)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def bounded_map(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    num_workers: int = NUM_WORKERS,
    ahead: int = 64,
) -> Generator[_Result, None, None]:
    """Yield the function of each item, in order.

    `ThreadPoolExecutor.map` takes all items at once; of a million images that would be a million waiting jobs.

    Args:
        function: Safe to call from several threads.
        items: Taken as needed.
        num_workers: Threads.
        ahead: Most results that wait to be taken.

    Example:
        >>> list(bounded_map(len, ["a", "bb", ""], num_workers=2))
        [1, 2, 0]
    """
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="cinemae-map")
    waiting: deque[Future[_Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
