from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from cinemae.errors import TrainingError
from cinemae.fit.config import FitRecipe
from cinemae.fit.data import Sample, gather, refuse_too_few_held_out
from cinemae.pictures.file_facts import FileFacts
from cinemae.sources.records import ImageRecord


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, picture) -> Path:
    """Fifty photographs and fifty fakes, all different."""
    root = tmp_path_factory.mktemp("drawn")
    for folder, start in (("real", 0), ("fake", 1000)):
        (root / folder).mkdir()
        for index in range(50):
            picture(start + index, 8, 8).save(root / folder / f"{index:02d}.png")
    return root


@pytest.fixture
def images(drawn, tmp_path) -> Path:
    shutil.copytree(drawn, tmp_path / "images")
    return tmp_path / "images"


def recipe(root: Path, **changes) -> FitRecipe:
    return FitRecipe(real=(str(root / "real"),), fake=(str(root / "fake"),), **changes)


def test_every_image_with_hash_and_facts(images):
    seen = []
    found = gather(recipe(images), lambda done, total: seen.append((done, total)))
    first = found.pool[0]
    assert len(found.pool) == 100
    assert (found.own, found.unread, found.num_duplicates, found.num_overlap) == ((), (), 0, 0)
    assert first.content_hash == hashlib.sha256((images / "real" / "00.png").read_bytes()).hexdigest()
    assert (first.facts.container, first.facts.width, first.label, first.group) == ("PNG", 8, 0, "real")
    assert seen == [(number, 100) for number in range(1, 101)]


def test_a_file_of_the_same_content_counts_once(images):
    shutil.copyfile(images / "real" / "07.png", images / "real" / "copy.png")
    found = gather(recipe(images))
    assert (len(found.pool), found.num_duplicates) == (100, 1)
    names = [Path(sample.record.path).name for sample in found.pool]
    assert (names.count("07.png"), names.count("copy.png")) == (2, 0), "one of each class, and the first of its content"


def test_a_file_in_both_classes_is_refused_under_both_names(images):
    shutil.copyfile(images / "real" / "07.png", images / "fake" / "other.png")
    with pytest.raises(TrainingError, match=r"at once; 1 files were given as both, such as .*07\.png and .*other\.png"):
        gather(recipe(images))


def test_a_class_is_compared_with_the_measuring_set_too(images, tmp_path):
    (tmp_path / "mine").mkdir()
    shutil.copyfile(images / "real" / "07.png", tmp_path / "mine" / "x.png")
    with pytest.raises(TrainingError, match=r"such as .*07\.png and .*x\.png"):
        gather(recipe(images, val_fake=(str(tmp_path / "mine"),)))


def test_what_is_measured_on_is_not_trained_on(images, tmp_path, picture):
    (tmp_path / "mine").mkdir()
    shutil.copyfile(images / "real" / "07.png", tmp_path / "mine" / "x.png")
    picture(5000, 8, 8).save(images / "real" / "more.png")
    found = gather(recipe(images, val_real=(str(tmp_path / "mine"),)))
    assert (len(found.pool), len(found.own), found.num_overlap, found.num_duplicates) == (100, 1, 1, 0)
    assert not any(sample.record.path.endswith("real/07.png") for sample in found.pool)


def test_what_cannot_be_read_is_a_row(images):
    (images / "real" / "text.png").write_text("not a picture")
    (images / "real" / "empty.png").touch()
    found = gather(recipe(images))
    assert [Path(path).name for path, _ in found.unread] == ["empty.png", "text.png"]
    assert "is empty (0 bytes)" in found.unread[0][1]
    assert len(found.pool) == 100


def test_what_could_not_be_decoded_can_be_left_out_later(images):
    found = gather(recipe(images))
    path = found.pool[3].record.path
    fewer = found.without([(path, "torn")])
    assert len(fewer.pool) == 99
    assert fewer.unread == ((path, "torn"),)


def test_too_few_are_refused_with_both_counts(images):
    (images / "real" / "07.png").write_text("torn")
    shutil.copyfile(images / "real" / "08.png", images / "real" / "09.png")
    sentence = (
        "fitted to at least 50 images of each class, readable and no two of them the same; there are 48 photographs "
        "and 50 generated images: add more, or use"
    )
    with pytest.raises(TrainingError, match=sentence):
        gather(recipe(images))


def test_too_few_to_measure_on_are_refused():
    facts = FileFacts("PNG", 8, 8, 99, None)
    samples = [Sample(ImageRecord(f"{index}.png", int(index < 9)), str(index), facts) for index in range(19)]
    with pytest.raises(TrainingError, match="measured on at least 10 images .* 10 photographs and 9 generated"):
        refuse_too_few_held_out(samples)
