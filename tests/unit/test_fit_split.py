from __future__ import annotations

import numpy as np
import pytest

from cinemae.errors import TrainingError
from cinemae.fit.data import Sample
from cinemae.fit.split import describe, split_class, wanted_held_out
from cinemae.pictures.file_facts import FileFacts
from cinemae.sources.records import ImageRecord


def samples(sizes: dict[str, int], label: int = 1) -> list[Sample]:
    facts = FileFacts("PNG", 8, 8, 99, None)
    return [
        Sample(ImageRecord(f"{group}/{index}.png", label, group), f"{group}-{index}", facts)
        for group, size in sizes.items()
        for index in range(size)
    ]


def split(sizes: dict[str, int], by: str = "auto", seed: int = 0, target: float = 0.1, label: int = 1):
    return split_class(samples(sizes, label), label, target=target, by=by, seed=seed)


def test_four_generators_or_more_are_held_out_whole():
    for seed in range(10):
        train, held_out, done = split({"a": 100, "b": 90, "c": 110, "d": 100, "e": 100}, seed=seed)
        assert done.kind == "groups"
        assert len(done.held_out) == 1
        assert {sample.group for sample in train}.isdisjoint(sample.group for sample in held_out)
        assert len(train) + len(held_out) == 500
        assert len(held_out) in (90, 100, 110), "one generator is a fifth, nearer to a quarter than two are"


def test_generators_of_many_sizes_make_up_a_quarter_or_little_more():
    sizes = {"a": 26, "b": 60, "c": 62, "d": 24, "e": 129, "f": 106, "g": 93}
    drawn = [split(sizes, seed=seed) for seed in range(20)]
    assert all(125 <= len(held_out) <= 1.25 * 125 for _, held_out, _ in drawn)
    assert len({done.held_out for _, _, done in drawn}) > 5


def test_which_are_held_out_hangs_on_the_seed_alone():
    sizes = dict.fromkeys("abcdefgh", 50)
    drawn = [split(sizes, seed=seed)[2].held_out for seed in range(8)]
    assert len(set(drawn)) > 3
    assert drawn == [split(dict(reversed(sizes.items())), seed=seed)[2].held_out for seed in range(8)]


def test_photographs_and_fakes_are_drawn_apart():
    sizes = dict.fromkeys("abcdefghijkl", 50)
    assert split(sizes, label=0)[2].held_out != split(sizes, label=1)[2].held_out


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [
        ({"a": 200, "b": 100, "c": 100}, "three generators are too few to give one away"),
        ({"a": 900, "b": 5, "c": 5, "d": 5}, "no choice of whole ones comes near a quarter"),
        ({"a": 200}, "there is one only"),
    ],
)
def test_else_images_of_each_generator_are_held_out(sizes, reason):
    train, held_out, done = split(sizes)
    assert done.kind == "images", reason
    total = sum(sizes.values())
    assert len(held_out) == round(total / 4)
    for group, size in sizes.items():
        assert abs(sum(sample.group == group for sample in held_out) - size / 4) <= 1
    assert len(train) + len(held_out) == total


def test_images_are_drawn_at_random():
    _, first, _ = split({"a": 200}, seed=0)
    _, again, _ = split({"a": 200}, seed=0)
    _, other, _ = split({"a": 200}, seed=1)
    assert first == again
    assert first != other
    places = np.array([int(sample.content_hash.split("-")[1]) for sample in first])
    assert len(set(np.diff(places))) > 3, "every fourth file would follow the order of a burst"


def test_either_way_can_be_asked_for():
    sizes = dict.fromkeys("abcdef", 50)
    assert split(sizes, by="images")[2].kind == "images"
    two = split({"a": 70, "b": 30}, by="groups")[2]
    assert (two.kind, two.groups, two.held_out) == ("groups", ("a",), ("b",))
    nine_to_one = split({"a": 900, "b": 5}, by="groups")[2]
    assert nine_to_one.held_out == ("b",)


def test_one_generator_cannot_be_held_out_whole():
    with pytest.raises(TrainingError, match="whole generators can be held out where there are two or more; .* one, a:"):
        split({"a": 200}, by="groups")
    with pytest.raises(TrainingError, match="whole sources .* the photographs are of one, a"):
        split({"a": 200}, by="groups", label=0)


@pytest.mark.parametrize(
    ("num", "target", "wanted"),
    [
        (1000, 0.02, 250),
        (200, 0.02, 50),
        (120, 0.02, 50),
        (100, 0.02, 50),
        (99, 0.02, 25),
        (60, 0.1, 15),
        (150, 0.01, 38),
    ],
)
def test_a_quarter_or_as_many_as_the_threshold_takes(num, target, wanted):
    assert wanted_held_out(num, target) == wanted
    assert len(split({"a": num}, target=target)[1]) == wanted


def test_a_sentence_says_what_was_done():
    assert split({"a": 100, "b": 100})[2].sentence() == (
        "generated images: a random part of each generator's images held out (a, b); 150 to train on, 50 to measure on"
    )
    whole = split(dict.fromkeys("abcd", 50), label=0, target=0.02)[2]
    assert whole.sentence() == (
        f"photographs: 1 of 4 sources held out whole ({whole.held_out[0]}); 150 to train on, 50 to measure on"
    )
    many = split(dict.fromkeys("abcdefghijk", 10), by="images")[2]
    assert "images held out (a, b, c, d, e, f, g, h and 3 more);" in many.sentence()
    own = describe(0, "own", samples({"a": 60}, 0), samples({"mine": 20}, 0))
    assert own.sentence() == "photographs: measured on images of their own (mine); 60 to train on, 20 to measure on"
