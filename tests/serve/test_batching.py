"""The queue and its workers, with a detector that can be held and broken at will."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import wait as wait_for

import pytest

from cinemae.app.serve.batching import Batcher, BatchSettings, Kind, QueueClosedError, QueueFullError
from cinemae.detect.verdict import Verdict

PIXEL = b"P5 1 1 255\n"
"""A whole PGM but for its one byte."""


def image(value):
    return PIXEL + bytes([value])


class Held:
    """Scores an image by its pixel, when it is let go; raises on a pixel of 255."""

    def __init__(self):
        self.go, self.batches, self.options = threading.Event(), [], []

    def detect_batch(self, images, **options):
        self.options.append(options)
        self.batches.append([data[-1] for data in images])
        assert self.go.wait(20)
        for data in images:
            if data[-1] == 255:
                raise ArithmeticError("broken on purpose")
            yield Verdict(None, "ok", verdict="ai", prob_fake=data[-1] / 255)


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def make(held):
    made = []

    def start(*, workers=1, max_batch=4, max_wait=0.0, queue=16, max_pixels=100, observer=None):
        batcher = Batcher(held, BatchSettings(workers, max_batch, max_wait, queue, max_pixels), observer)
        batcher.start()
        made.append(batcher)
        return batcher

    yield start
    held.go.set()
    for batcher in made:
        batcher.close()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


def test_every_image_gets_its_own_answer(make, held):
    held.go.set()
    batcher = make(workers=3, queue=300)
    sent = [list(range(start, start + 5)) for start in range(0, 250, 5)]
    futures = [batcher.submit(map(image, values), Kind.PLAIN) for values in sent]
    got = [[future.result(20).verdict.prob_fake for future in row] for row in futures]
    assert got == [[value / 255 for value in values] for values in sent]
    until(lambda: batcher.pending == 0)


def test_what_waits_is_taken_together_and_no_more_than_a_batch(make, held):
    batcher = make(max_batch=4)
    first = batcher.submit([image(0)], Kind.PLAIN)
    until(lambda: held.batches == [[0]])
    rest = batcher.submit(map(image, range(1, 8)), Kind.PLAIN)
    held.go.set()
    wait_for([*first, *rest], 20)
    assert held.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_a_worker_leaves_their_share_to_the_others(make, held):
    batcher = make(workers=2, max_batch=8)
    with batcher._changed:  # neither worker may look before all four are there
        futures = batcher.submit(map(image, range(4)), Kind.PLAIN)
    until(lambda: len(held.batches) == 2)
    assert sorted(map(len, held.batches)) in ([1, 2], [2, 2])
    held.go.set()
    wait_for(futures, 20)


def test_a_worker_waits_for_more_if_told_to(make, held):
    held.go.set()
    batcher = make(max_batch=2, max_wait=20.0)
    first = batcher.submit([image(1)], Kind.PLAIN)
    time.sleep(0.05)
    assert held.batches == []
    second = batcher.submit([image(2)], Kind.PLAIN)
    wait_for([*first, *second], 10)
    assert held.batches == [[1, 2]]


def test_kinds_do_not_mix_and_stable_is_passed_on(make, held):
    batcher = make(max_batch=8)
    batcher.submit([image(0)], Kind.PLAIN)
    until(lambda: len(held.batches) == 1)
    batcher.submit([image(1)], Kind.PLAIN)
    last = batcher.submit([image(2), image(3)], Kind.STABLE)
    held.go.set()
    wait_for(last, 20)
    assert held.batches == [[0], [1], [2, 3]]
    assert [options.get("stable", False) for options in held.options] == [False, False, True]
    assert not any(options["keep_pixels"] for options in held.options)


def test_a_full_queue_refuses_all_or_nothing(make, held):
    batcher = make(queue=3)
    taken = batcher.submit([image(1), image(2)], Kind.PLAIN)
    with pytest.raises(QueueFullError) as refused:
        batcher.submit([image(3), image(4)], Kind.PLAIN)
    assert refused.value.retry_after > 0
    assert batcher.pending == 2
    taken += batcher.submit([image(3)], Kind.PLAIN)
    with pytest.raises(QueueFullError):
        batcher.require_room()
    held.go.set()
    wait_for(taken, 20)
    until(lambda: batcher.pending == 0)
    batcher.require_room(3)


def test_what_nobody_wants_any_more_is_dropped(make, held):
    batcher = make(max_batch=1)
    running = batcher.submit([image(1)], Kind.PLAIN)
    until(lambda: held.batches == [[1]])
    unwanted, wanted = batcher.submit([image(2), image(3)], Kind.PLAIN), batcher.submit([image(4)], Kind.PLAIN)
    batcher.abandon([*unwanted, *running])
    assert batcher.pending == 2  # the one that is being scored, and the one that is wanted
    assert all(future.cancelled() for future in unwanted)
    held.go.set()
    assert wanted[0].result(20).verdict.prob_fake == 4 / 255
    assert running[0].result(20).verdict.prob_fake == 1 / 255
    assert held.batches == [[1], [4]]
    with pytest.raises(CancelledError):
        unwanted[0].result(0)


def test_what_breaks_on_one_image_does_not_take_the_others_with_it(make, held):
    batcher = make(max_batch=8)
    batcher.submit([image(0)], Kind.PLAIN)
    until(lambda: held.batches == [[0]])
    futures = batcher.submit(map(image, (1, 255, 3)), Kind.PLAIN)
    held.go.set()
    assert futures[0].result(20).verdict.prob_fake == 1 / 255
    assert futures[2].result(20).verdict.prob_fake == 3 / 255
    failed = futures[1].result(20).verdict
    assert failed.status == "error"
    assert re.match(r"an unexpected ArithmeticError \(error [0-9a-f]{8}\) kept this image from", failed.error_message)
    assert batcher.ready


def test_the_detector_is_told_how_many_pixels_an_image_may_have(make, held):
    held.go.set()
    make(max_pixels=12).submit([image(7)], Kind.PLAIN)[0].result(20)
    assert held.options[0]["max_pixels"] == 12


def test_closing_answers_what_was_taken(make, held):
    batcher = make(max_batch=1)
    futures = batcher.submit(map(image, range(5)), Kind.PLAIN)
    closer = threading.Thread(target=batcher.close)
    closer.start()
    until(lambda: not batcher.ready)
    with pytest.raises(QueueClosedError):
        batcher.submit([image(9)], Kind.PLAIN)
    held.go.set()
    closer.join(20)
    assert [future.result(0).verdict.prob_fake for future in futures] == [value / 255 for value in range(5)]


def test_the_observer_hears_of_every_image(make, held):
    heard = []

    class Observer:
        def batch_scored(self, scored, seconds):
            assert seconds >= 0
            heard.extend(one.verdict.prob_fake for one in scored)

    held.go.set()
    batcher = make(observer=Observer())
    wait_for(batcher.submit([image(51), image(255), image(102)], Kind.PLAIN), 20)
    until(lambda: len(heard) == 3)
    assert {0.2, 0.4, None} == set(heard)
