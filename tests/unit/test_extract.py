"""Run as a script, this file starts the processes that `TestKilled` kills."""

import os
import signal
import subprocess
import sys
import tarfile
import threading
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from cinemae.config import AugmentConfig, DeviationConfig, ExtractorConfig, ImageConfig, MaskConfig
from cinemae.core.backbone import FrozenMAE
from cinemae.core.features import FeatureExtractor
from cinemae.core.preprocess import preprocess
from cinemae.errors import ConfigError, FingerprintMismatchError, SourceError, StoreError
from cinemae.features import extract as extract_module
from cinemae.features.extract import BATCHES_AHEAD, extract, extract_rows
from cinemae.pictures.augment import augment_picture
from cinemae.pictures.image import load_image
from cinemae.sources.datasets import read_records
from cinemae.sources.records import ImageRecord
from cinemae.stores.features import FeatureStore

pytestmark = pytest.mark.usefixtures("one_thread")  # this process must compute as the killed ones do

SHARD_SIZE, BATCH_SIZE = 5, 2


def tiny_extractor(*, views="center", seed=0, pixel_space="normalized"):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = ViTMAEConfig(image_size=32, patch_size=8, **sizes, **{f"decoder_{k}": v for k, v in sizes.items()})
    image = ImageConfig(size=32, resize_to=40, views=views)
    settings = ExtractorConfig(image, MaskConfig(seed=seed), DeviationConfig(pixel_space=pixel_space))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ViTMAEForPreTraining(config)
    return FeatureExtractor(FrozenMAE(model), settings)


@pytest.fixture(scope="module")
def extractor():
    return tiny_extractor()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """23 files, of which 4 cannot be read: one shard holds a batch without any image."""
    root = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(23):
        path = root / ("real" if index % 2 else "fake/sd1.4") / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width = rng.integers(20, 80, 2)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    files = sorted(path for path in root.rglob("*.png"))
    files[2].write_bytes(files[2].read_bytes()[:60])
    files[5].write_bytes(b"")
    files[6].write_text("no image")
    files[6].with_suffix(".txt").write_text("no image either, and not listed")
    files[20].unlink()
    os.mkfifo(files[20])
    return root


def shards(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("shard-*.parquet"))}


def run(photos, out, extractor, **changes):
    settings = {"shard_size": SHARD_SIZE, "batch_size": BATCH_SIZE, "num_workers": 2} | changes
    return extract(read_records(photos), out, extractor, **settings)


@pytest.fixture(scope="module")
def undisturbed(photos, extractor, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "store"
    report = run(photos, out, extractor)
    return out, report


class TestResult:
    def test_report(self, undisturbed, extractor):
        _, report = undisturbed
        assert (report.num_ok, report.num_failed, report.num_extracted) == (19, 4, 23)
        assert (report.num_shards, report.num_skipped_shards) == (5, 0)
        assert report.fingerprint == extractor.fingerprint

    def test_every_record_is_a_row_in_order(self, undisturbed, photos):
        rows = FeatureStore.open(undisturbed[0]).load(status=None)
        records = read_records(photos)
        assert rows["path"].tolist() == [record.path for record in records]
        assert rows["label"].tolist() == [record.label for record in records]
        assert rows["generator"].tolist() == [record.generator for record in records]
        assert np.flatnonzero(rows["status"] == "error").tolist() == [2, 5, 6, 20]

    def test_what_could_not_be_read_says_why(self, undisturbed):
        rows = FeatureStore.open(undisturbed[0]).load(
            ("path", "error_message", "content_hash", "width"), status="error"
        )
        for word, message in zip(("damaged", "empty", "must be one of", "FIFO"), rows["error_message"], strict=True):
            assert word in message
        assert rows["content_hash"].tolist() == [None] * 4
        assert rows["width"].tolist() == [-1] * 4

    def test_what_could_be_read_is_described(self, undisturbed):
        rows = FeatureStore.open(undisturbed[0]).load()
        for index, path in enumerate(rows["path"]):
            loaded = load_image(path)
            assert rows["content_hash"][index] == loaded.content_hash
            assert (rows["width"][index], rows["height"][index]) == (loaded.width, loaded.height)
            assert (rows["num_bytes"][index], rows["source_format"][index]) == (Path(path).stat().st_size, "PNG")
            assert rows["warnings"][index] == []

    @pytest.mark.parametrize("views", ["center", "five"])
    def test_features_are_those_of_each_image_alone(self, photos, tmp_path, views):
        extractor = tiny_extractor(views=views)
        run(photos, tmp_path / "store", extractor)
        rows = FeatureStore.open(tmp_path / "store").load()
        assert rows["deviation"].shape == (19, extractor.config.image.num_views, 2, 16)
        for index, path in enumerate(rows["path"]):
            with torch.inference_mode():
                pixels = preprocess(load_image(path).image, extractor.config.image)
                expected = extractor(torch.from_numpy(pixels))
            for name in ("global_feature", "deviation", "fidelity"):
                np.testing.assert_allclose(rows[name][index], getattr(expected, name), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("kind", ["tar", "parquet"])
    def test_an_archive_gives_what_its_files_give(self, undisturbed, photos, extractor, tmp_path, kind):
        files = {record.path: record for record in read_records(photos) if not Path(record.path).is_fifo()}
        if kind == "tar":
            with tarfile.open(tmp_path / "x.tar", "w") as tar:
                for path in files:
                    tar.add(path, Path(path).relative_to(photos))
        else:
            image = [{"bytes": Path(path).read_bytes(), "path": path} for path in files]
            labels = [record.label for record in files.values()]
            generators = [record.generator for record in files.values()]
            columns = {"image": image, "label": labels, "generator": generators}
            pq.write_table(pa.table(columns), tmp_path / "x.parquet", row_group_size=7)
        run(tmp_path / f"x.{kind}", tmp_path / "store", extractor)
        rows, expected = (FeatureStore.open(path).load(status=None) for path in (tmp_path / "store", undisturbed[0]))
        kept = [path in files for path in expected["path"]]
        assert sum(kept) == len(kept) - 1
        names = [
            path if kind == "tar" else str(row) for row, path in enumerate(os.path.relpath(p, photos) for p in files)
        ]
        assert rows["path"].tolist() == [f"{tmp_path}/x.{kind}/{name}" for name in names]
        for name in set(expected) - {"path", "error_message", "global_feature", "deviation", "fidelity"}:
            assert rows[name].tolist() == expected[name][kept].tolist(), name
        for name in ("global_feature", "deviation", "fidelity"):
            np.testing.assert_allclose(rows[name], expected[name][kept], rtol=1e-5, atol=1e-6)
        for word, message in zip(("damaged", "empty", "must be one of"), rows["error_message"][[2, 5, 6]], strict=True):
            assert word in message

    def test_altered_copies_are_features_of_altered_pictures(self, undisturbed, photos, extractor, tmp_path):
        config = AugmentConfig(seed=4)
        run(photos, tmp_path / "store", extractor, augment=config)
        store, plain = FeatureStore.open(tmp_path / "store"), FeatureStore.open(undisturbed[0])
        rows, as_they_are = store.load(), plain.load()
        assert store.header.augment == config
        assert plain.header.augment is None
        for name in ("path", "label", "content_hash", "width", "height"):
            assert rows[name].tolist() == as_they_are[name].tolist()
        for index, path in enumerate(rows["path"]):
            loaded = load_image(path)
            copy = augment_picture(loaded.image, config, loaded.content_hash)
            with torch.inference_mode():
                expected = extractor(torch.from_numpy(preprocess(copy, extractor.config.image)))
            np.testing.assert_allclose(rows["global_feature"][index], expected.global_feature, rtol=1e-5, atol=1e-6)
        assert not np.allclose(rows["global_feature"], as_they_are["global_feature"])

    def test_header_says_where_it_comes_from(self, undisturbed, extractor):
        header = FeatureStore.open(undisturbed[0]).header
        assert header.extractor == extractor.config
        assert (header.backbone.content_hash, header.dtype) == (extractor.backbone.content_hash, "float32")
        assert header.source == {
            "num_real": 11,
            "num_fake": 12,
            "num_unlabelled": 0,
            "generators": {"sd1.4": 12},
        }

    def test_threads_do_not_change_a_byte(self, undisturbed, photos, extractor, tmp_path):
        run(photos, tmp_path / "store", extractor, num_workers=5)
        assert shards(tmp_path / "store") == shards(undisturbed[0])

    def test_file_names_that_are_not_unicode(self, extractor, tmp_path):
        folder = tmp_path / "photos"
        folder.mkdir()
        name = os.fsencode(folder) + b"/caf\xe9.png"
        Image.new("RGB", (40, 40)).save(os.fsdecode(name), format="PNG")
        assert run(folder, tmp_path / "store", extractor).num_ok == 1

    def test_progress_counts_to_the_end(self, photos, extractor, tmp_path):
        seen = []
        run(photos, tmp_path / "store", extractor, progress=lambda done, total: seen.append((done, total)))
        done = [0, 2, 4, 5, 7, 9, 10, 12, 14, 15, 17, 19, 20, 22, 23]
        assert seen == [(number, 23) for number in done]

    def test_nothing_is_printed(self, photos, extractor, tmp_path, capfd):
        run(photos, tmp_path / "store", extractor)
        assert capfd.readouterr() == ("", "")


class TestResume:
    def test_finished_shards_are_not_made_again(self, undisturbed, photos, extractor, tmp_path, monkeypatch):
        out = tmp_path / "store"
        run(photos, out, extractor)
        (out / "shard-00003.parquet").unlink()
        before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
        looked_at, seen = [], []
        monkeypatch.setattr(extract_module, "load_image", lambda path: looked_at.append(path) or load_image(path))
        report = run(photos, out, extractor, progress=lambda done, total: seen.append((done, total)))
        assert sorted(looked_at) == [record.path for record in read_records(photos)[15:20]]
        assert seen == [(18, 23), (20, 23), (22, 23), (23, 23)]
        assert (report.num_skipped_shards, report.num_extracted) == (4, 5)
        assert (report.num_ok, report.num_failed) == (19, 4)
        assert {path: path.stat().st_mtime_ns for path in before} == before
        assert shards(out) == shards(undisturbed[0])

    def test_a_complete_store_runs_nothing(self, undisturbed, photos, extractor, monkeypatch):
        monkeypatch.setattr(extract_module, "load_image", None)
        report = run(photos, undisturbed[0], extractor)
        assert (report.num_extracted, report.num_skipped_shards, report.num_ok) == (0, 5, 19)

    def test_another_job_is_refused(self, undisturbed, photos, extractor, tmp_path):
        out, _ = undisturbed
        before = shards(out)
        for other in (tiny_extractor(seed=1), tiny_extractor(pixel_space="unit")):
            with pytest.raises(FingerprintMismatchError, match=f"{extractor.fingerprint}.*{other.fingerprint}"):
                run(photos, out, other)
        with pytest.raises(StoreError, match="shard_size 5, now it is 4"):
            run(photos, out, extractor, shard_size=4)
        with pytest.raises(StoreError, match="another list of images: 23 images"):
            run(photos / "real", out, extractor)
        with pytest.raises(StoreError, match="dtype float32, now it is bfloat16"):
            run(photos, out, tiny_extractor().to(torch.bfloat16))
        with pytest.raises(StoreError, match="begun with augment None, now it is AugmentConfig"):
            run(photos, out, extractor, augment=AugmentConfig())
        assert shards(out) == before

    def test_an_error_of_the_model_stops_the_run_and_the_next_goes_on(self, undisturbed, photos, tmp_path):
        class Failing(torch.nn.Module):
            def __init__(self, inner, calls):
                super().__init__()
                self.inner, self.calls = inner, calls
                self.config, self.fingerprint, self.backbone = inner.config, inner.fingerprint, inner.backbone

            def forward(self, pixel_values):
                self.calls -= 1
                if self.calls < 0:
                    raise RuntimeError("out of memory")
                return self.inner(pixel_values)

        inner = tiny_extractor()
        with pytest.raises(RuntimeError, match="out of memory"):
            run(photos, tmp_path / "store", Failing(inner, calls=4))
        assert not any("cinemae-ahead" in thread.name for thread in threading.enumerate())
        assert len(shards(tmp_path / "store")) == 1
        run(photos, tmp_path / "store", inner)
        assert shards(tmp_path / "store") == shards(undisturbed[0])


class TestBounds:
    def test_few_batches_are_in_flight_however_many_come(self, extractor, tmp_path):
        path = tmp_path / "a.png"
        Image.new("RGB", (40, 40)).save(path)
        taken = 0

        def records():
            nonlocal taken
            for _ in range(40):
                taken += 1
                yield ImageRecord(str(path))

        rows = extract_rows(records(), extractor, batch_size=2, num_workers=2)
        lead = [taken - 2 * index for index, _ in enumerate(rows)]
        assert len(lead) == 20
        assert max(lead) == 2 * (BATCHES_AHEAD + 1)

    def test_pixels_are_let_go_once_used(self, photos, extractor, tmp_path, monkeypatch):
        lock = threading.RLock()
        alive, peak = 0, 0

        def count(change):
            nonlocal alive, peak
            with lock:
                alive += change
                peak = max(peak, alive)

        def counting(image, config):
            pixels = preprocess(image, config)
            count(1)
            weakref.finalize(pixels, count, -1)
            return pixels

        monkeypatch.setattr(extract_module, "preprocess", counting)
        records = read_records(photos / "real") * 10
        extract(records, tmp_path / "store", extractor, shard_size=20, batch_size=BATCH_SIZE, num_workers=2)
        assert 0 < peak <= (BATCHES_AHEAD + 2) * BATCH_SIZE
        assert alive == 0

    @pytest.mark.parametrize("name", ["shard_size", "batch_size", "num_workers"])
    def test_sizes_below_one_are_refused(self, photos, extractor, tmp_path, name):
        with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
            run(photos, tmp_path / "store", extractor, **{name: 0})

    def test_no_records(self, extractor, tmp_path):
        with pytest.raises(SourceError, match="list of records is empty"):
            extract([], tmp_path / "store", extractor)
        assert not (tmp_path / "store").exists()


class TestKilled:
    MOMENTS = (  # what, where, and how many shards there are afterwards at least
        ("stopped_at", 4, 0),
        ("half_written", 0, 0),
        ("not_renamed", 1, 1),
        ("passing", 9, 1),
        ("passing", 14, 2),
        ("stopped_at", 17, 3),
        ("half_written", 3, 3),
        ("passing", 22, 4),
    )

    @pytest.mark.slow
    def test_killed_at_many_moments_it_ends_with_the_same_bytes(self, undisturbed, photos, extractor, tmp_path):
        out = tmp_path / "store"
        expected = shards(undisturbed[0])
        finished: dict[str, int] = {}
        command = [sys.executable, __file__, str(photos), str(out)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            for moment, number, least in self.MOMENTS:
                kill_at(process, moment, number)
                found = shards(out)
                assert found == {name: expected[name] for name in found}
                assert len(found) >= least
                assert {name: (out / name).stat().st_ino for name in finished} == finished
                finished = {name: (out / name).stat().st_ino for name in found}
            process.stdin.close()
        report = run(photos, out, extractor)
        assert report.num_skipped_shards == len(finished)
        assert {name: (out / name).stat().st_ino for name in finished} == finished
        assert shards(out) == expected
        assert (out / "store.json").read_bytes() == (undisturbed[0] / "store.json").read_bytes()
        assert sorted(path.name for path in out.iterdir()) == [*expected, "store.json"]


def kill_at(process, moment, number):
    process.stdin.write(f"{moment} {number}\n")
    process.stdin.flush()
    word, pid = process.stdout.readline().split()
    assert word == "kill"
    os.kill(int(pid), signal.SIGKILL)
    assert process.stdout.readline() == f"died {signal.SIGKILL.value}\n"


def be_killed_again_and_again(photos, out):
    """Start a process for every line that comes, and say what it died of."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        moment, number = line.split()
        child = os.fork()
        if child == 0:
            try:
                be_killed(moment, int(number), photos, out)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        say("died", os.WTERMSIG(status))


def be_killed(moment, number, photos, out):
    """Extract; at `moment` name this process to be killed: then wait for it, or go on at full speed ("passing")."""
    write, replace = Path.write_bytes, Path.replace
    shard, asked = f"shard-{number:05d}.parquet", False

    def kill_me(*, wait=True):
        nonlocal asked
        asked = True
        say("kill", os.getpid())
        if wait:
            threading.Event().wait()

    def half_written(path, data):
        write(path, data[: len(data) // 2] if shard in path.name else data)
        if shard in path.name:
            kill_me()

    def not_renamed(path, target):
        if target.name == shard:
            kill_me()
        return replace(path, target)

    def progress(done, total):
        if done == number and moment in ("stopped_at", "passing"):
            kill_me(wait=moment == "stopped_at")

    if moment == "half_written":
        Path.write_bytes = half_written
    elif moment == "not_renamed":
        Path.replace = not_renamed
    run(photos, out, tiny_extractor(), progress=progress)
    if not asked:
        kill_me()
    threading.Event().wait()  # it ran past its moment, and is killed all the same


def say(word, number):
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    be_killed_again_and_again(*sys.argv[1:])
