import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cinemae.errors import ImageError, SourceError
from cinemae.pictures.image import load_image
from cinemae.pictures.picture import MAX_BYTES
from cinemae.sources import parquet_images
from cinemae.sources.archives import read_encoded
from cinemae.sources.datasets import read_records
from cinemae.sources.records import ImageRecord, ParquetPlace, TarPlace, hash_records


def encode(picture, seed=0, **options):
    data = io.BytesIO()
    picture(seed).save(data, options.pop("format", "PNG"), **options)
    return data.getvalue()


def write_tar(path: Path, members, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, **{"mode": "w"} | options) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_parquet(path: Path, columns, features=None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        metadata = {"info": {"features": features}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path, **options)
    return path


def images(*encoded):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([None if data is None else {"bytes": data, "path": "x.png"} for data in encoded], kind)


def class_label(*names):
    return {"names": list(names), "_type": "ClassLabel"}


def told(source):
    return {Path(record.path).name: (record.label, record.generator) for record in read_records(source)}


class TestPlace:
    def test_records_hash_as_before_whatever_their_place(self):
        plain = [ImageRecord("a", 0, None), ImageRecord("b", 1, "sd")]
        placed = [ImageRecord("a", 0, None, TarPlace("t.tar", 512, 9)), ImageRecord("b", 1, "sd", None)]
        assert hash_records(plain) == hash_records(placed)
        text = '["a", 0, null]\n["b", 1, "sd"]\n'
        assert hash_records(plain) == hashlib.sha256(text.encode()).hexdigest()

    def test_an_image_of_its_own_file_is_given_by_its_path(self):
        assert read_encoded(ImageRecord("photos/a.jpg", 0)) == "photos/a.jpg"

    def test_tars_are_listed_and_read_without_pyarrow(self, tmp_path):
        write_tar(tmp_path / "fake" / "a.tar", [("a.png", b"abc")])
        code = (
            "import sys; sys.modules['pyarrow'] = None\n"
            "from cinemae.sources.archives import read_encoded\nfrom cinemae.sources.datasets import read_records\n"
            f"print([(r.label, read_encoded(r)) for r in read_records({str(tmp_path)!r})])\n"
            "import cinemae.sources.layouts\n"
            "try:\n    open('x.parquet', 'w').close(); read_records('x.parquet')\n"
            "except Exception as error:\n    print(type(error).__name__, error)"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path / "fake"
        )
        assert result.stdout == (
            "[(1, b'abc')]\nMissingDependencyError Parquet data sets need pyarrow: pip install 'cinemae[data]'.\n"
        )


class TestTarLabels:
    def test_cls_beside_the_image(self, tmp_path):
        words = {"a": b"1", "b": b"real\n", "c": b" Fake ", "d": b"0", "e": b"nature", "f": b""}
        members = [(f"{key}.cls", word) for key, word in words.items()] + [(f"{key}.png", b"x") for key in words]
        labels = {name: label for name, (label, _) in told(write_tar(tmp_path / "x.tar", members)).items()}
        assert labels == {"a.png": 1, "b.png": 0, "c.png": 1, "d.png": 0, "e.png": 0, "f.png": None}

    def test_json_beside_the_image(self, tmp_path):
        values = {
            "a": {"label": 1, "generator": "sdxl", "prompt": "a cat"},
            "b": {"label": "real", "generator": None},
            "c": {"caption": "says nothing of labels"},
            "d": {"generator": "Real", "label": 0},
        }
        members = [(f"{key}.jpg", b"x") for key in values]
        members += [(f"{key}.json", json.dumps(value).encode()) for key, value in values.items()]
        assert told(write_tar(tmp_path / "x.tar", members)) == {
            "a.jpg": (1, "sdxl"),
            "b.jpg": (0, None),
            "c.jpg": (None, None),
            "d.jpg": (0, None),
        }

    def test_cls_outweighs_json_which_outweighs_folders(self, tmp_path):
        members = [
            ("fake/gan/a.png", b"x"),
            ("fake/gan/a.json", b'{"label": 0, "generator": "sd"}'),
            ("fake/gan/a.cls", b"1"),
            ("fake/gan/b.png", b"x"),
            ("fake/gan/b.json", b'{"label": 0}'),
            ("fake/gan/c.png", b"x"),
            ("fake/gan/c.json", b'{"generator": "other"}'),
        ]
        assert told(write_tar(tmp_path / "x.tar", members)) == {
            "a.png": (1, "sd"),
            "b.png": (0, "gan"),
            "c.png": (1, "other"),
        }

    def test_folders_inside_by_the_rules_of_trees(self, tmp_path):
        names = ["Midjourney/imagenet_midjourney/val/ai/a.PNG", "progan/cat/0_real/b.png", "fake/sd/c.png", "d.png"]
        assert told(write_tar(tmp_path / "x.tar", [(name, b"x") for name in names])) == {
            "a.PNG": (1, "Midjourney"),
            "b.png": (0, "progan"),
            "c.png": (1, "sd"),
            "d.png": (None, None),
        }

    def test_else_the_folders_around_the_tar(self, tmp_path):
        write_tar(tmp_path / "fake" / "sdxl" / "00.tar", [("x/a.png", b"x"), ("real/b.png", b"x")])
        write_tar(tmp_path / "real" / "00.tar", [("c.png", b"x")])
        expected = {"a.png": (1, "sdxl"), "b.png": (0, None), "c.png": (0, None)}
        assert told(tmp_path) == expected
        assert told(f"{tmp_path}/**/*.tar") == expected
        assert told(tmp_path / "real" / "00.tar") == {"c.png": (0, None)}

    def test_the_key_ends_at_the_first_or_the_last_dot(self, tmp_path):
        members = [("d.1/a.v2.png", b"x"), ("d.1/a.cls", b"1"), ("b.v2.png", b"x"), ("b.v2.cls", b"0")]
        assert told(write_tar(tmp_path / "x.tar", members)) == {"a.v2.png": (1, None), "b.v2.png": (0, None)}

    @pytest.mark.parametrize(
        ("name", "data", "words"),
        [
            ("a.cls", b"207", ["x.tar/a.cls says '207'", "0, 1, real, fake", "correct it"]),
            ("a.json", b'{"label": true}', ["x.tar/a.json says 'True'"]),
            ("a.json", b"[1]", ["x.tar/a.json must hold an object"]),
            ("a.json", b"{", ["x.tar/a.json could not be read", "JSON"]),
            ("a.json", b"[" * 100_000, ["x.tar/a.json could not be read"]),
            ("a.cls", b"\xff\xfe", ["x.tar/a.cls could not be read as UTF-8"]),
            ("a.cls", b" " * 2**21, ["x.tar/a.cls", "1,048,576 bytes"]),
        ],
    )
    def test_what_is_no_label_is_named(self, tmp_path, name, data, words):
        write_tar(tmp_path / "x.tar", [("a.png", b"x"), (name, data)])
        with pytest.raises(SourceError) as caught:
            read_records(tmp_path / "x.tar")
        assert all(word in str(caught.value) for word in words), caught.value


class TestTarMembers:
    def test_bytes_are_those_that_went_in(self, tmp_path, picture):
        encoded = {f"real/{seed:03}.{kind}": encode(picture, seed, format=kind.upper()) for seed in range(3)
                   for kind in ("png", "jpeg")}  # fmt: skip
        encoded[f"fake/{'long' * 60}/é.png"] = encode(picture, 9)
        write_tar(tmp_path / "x.tar", encoded.items())
        records = read_records(tmp_path / "x.tar")
        assert [record.path for record in records] == [f"{tmp_path}/x.tar/{name}" for name in encoded]
        assert [read_encoded(record) for record in records] == list(encoded.values())
        with ThreadPoolExecutor(4) as pool:
            loaded = list(pool.map(lambda record: load_image(read_encoded(record)), records))
        assert [image.num_bytes for image in loaded] == [len(data) for data in encoded.values()]

    @pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
    def test_every_flavour_of_tar(self, tmp_path, kind):
        name = "real/" + "d" * 90 + "/" + "n" * 60 + ".png"
        write_tar(tmp_path / "x.tar", [(name, b"abc")], format=kind)
        (record,) = read_records(tmp_path / "x.tar")
        assert (record.path, read_encoded(record)) == (f"{tmp_path}/x.tar/{name}", b"abc")

    def test_other_files_folders_and_links_are_passed_over(self, tmp_path):
        with tarfile.open(tmp_path / "x.tar", "w") as tar:
            for name, kind, target in [
                ("d.png", tarfile.DIRTYPE, ""),
                ("sym.png", tarfile.SYMTYPE, "/etc/passwd"),
                ("pipe.png", tarfile.FIFOTYPE, ""),
                ("lost.png", tarfile.LNKTYPE, "nowhere.png"),
            ]:
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, target
                tar.addfile(info)
            for name in ("README.txt", "list.json", "list2.json", "a.png"):
                info = tarfile.TarInfo(name)
                info.size = 3
                tar.addfile(info, io.BytesIO(b"[1]"))
            info = tarfile.TarInfo("again.png")
            info.type, info.linkname = tarfile.LNKTYPE, "./a.png"
            tar.addfile(info)
        records = read_records(tmp_path / "x.tar")
        assert [Path(record.path).name for record in records] == ["a.png", "again.png"]
        assert [read_encoded(record) for record in records] == [b"[1]", b"[1]"]

    def test_names_that_lead_elsewhere_lead_nowhere(self, tmp_path, monkeypatch):
        names = ["../../evil.png", "/etc/evil2.png", "./ok.png", "a/../b.png"]
        write_tar(tmp_path / "in" / "x.tar", [(name, name.encode()) for name in names])
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.chdir(tmp_path)
        records = read_records("in/x.tar")
        assert [record.path for record in records] == [
            "in/x.tar/evil.png", "in/x.tar/etc/evil2.png", "in/x.tar/ok.png", "in/x.tar/a/b.png"
        ]  # fmt: skip
        assert [read_encoded(record) for record in records] == [name.encode() for name in names]
        assert sorted(tmp_path.rglob("*")) == before
        assert not Path("/etc/evil2.png").exists()

    @pytest.mark.parametrize("names", [["a.png", "a.png"], ["a.png", "./a.png"], ["a.png", "a.cls", "a.cls"]])
    def test_a_name_that_comes_twice_is_refused(self, tmp_path, names):
        write_tar(tmp_path / "x.tar", [(name, b"1") for name in names])
        with pytest.raises(SourceError, match=rf"names in a tar must differ, .*x\.tar holds {names[-1][-5:]} twice"):
            read_records(tmp_path / "x.tar")

    def test_two_images_may_share_a_key(self, tmp_path):
        write_tar(tmp_path / "x.tar", [("a.png", b"1"), ("a.jpg", b"2"), ("a.cls", b"1")])
        assert told(tmp_path / "x.tar") == {"a.png": (1, None), "a.jpg": (1, None)}

    def test_sparse_files_are_refused(self, tmp_path):
        (tmp_path / "a.png").touch()
        os.truncate(tmp_path / "a.png", 2**20)
        subprocess.run(["tar", "--sparse", "-cf", "x.tar", "a.png"], cwd=tmp_path, check=True)
        with pytest.raises(SourceError, match="sparse"):
            read_records(tmp_path / "x.tar")


class TestTarDamage:
    @pytest.mark.parametrize(("mode", "kind"), [("w:gz", "gzip"), ("w:bz2", "bzip2"), ("w:xz", "xz")])
    def test_compressed_is_refused(self, tmp_path, mode, kind):
        write_tar(tmp_path / "x.tar", [("a.png", b"abc")], mode=mode)
        with pytest.raises(SourceError, match=f"must be uncompressed, .* compressed with {kind}: decompress it first"):
            read_records(tmp_path / "x.tar")

    @pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz"])
    def test_compressed_by_its_name(self, tmp_path, name):
        write_tar(tmp_path / name, [("a.png", b"abc")], mode="w:gz")
        with pytest.raises(SourceError, match=r"an uncompressed \.tar .* another kind of file: unpack it to a \.tar"):
            read_records(tmp_path / name)

    @pytest.mark.parametrize(
        "length", [0, 100, 512, 512 + 700, 1024 + 512 + 40, 3 * 512 + 20, 4 * 512], ids=lambda length: f"{length}"
    )
    def test_cut_short_anywhere(self, tmp_path, length):
        path = write_tar(tmp_path / "x.tar", [("a.png", b"a" * 1000), ("b.png", b"b" * 100)])
        whole = path.read_bytes()
        assert len(read_records(path)) == 2
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"x\.tar could not be read .* damaged or cut short"):
            read_records(path)

    def test_a_damaged_header_within(self, tmp_path):
        path = write_tar(tmp_path / "x.tar", [("a.png", b"a"), ("b.png", b"b"), ("c.png", b"c")])
        data = bytearray(path.read_bytes())
        data[1024 + 148 : 1024 + 156] = b"77777777"  # the checksum of b.png's header
        path.write_bytes(data)
        with pytest.raises(SourceError, match="neither a header nor the end mark at byte 1024"):
            read_records(path)

    def test_joined_tars_are_refused(self, tmp_path):
        path = write_tar(tmp_path / "x.tar", [("a.png", b"a")])
        path.write_bytes(path.read_bytes() * 2)
        with pytest.raises(SourceError, match="goes on after it: if several tars were joined"):
            read_records(path)

    def test_no_tar_at_all(self, tmp_path):
        (tmp_path / "x.tar").write_text("hello " * 1000)
        with pytest.raises(SourceError, match=r"x\.tar could not be read"):
            read_records(tmp_path)
        (tmp_path / "x.tar").unlink()
        (tmp_path / "x.tar").symlink_to("nowhere")
        with pytest.raises(SourceError, match="No such file"):
            read_records(tmp_path)

    def test_without_images(self, tmp_path):
        write_tar(tmp_path / "x.tar", [("a.txt", b"a")])
        with pytest.raises(SourceError, match=r"archives without any image, such as .*x\.tar"):
            read_records(tmp_path)

    def test_gone_or_shorter_since_it_was_listed(self, tmp_path):
        path = write_tar(tmp_path / "x.tar", [("a.png", b"a" * 1000)])
        (record,) = read_records(path)
        os.truncate(path, 600)
        with pytest.raises(ImageError, match=r"x\.tar/a\.png' is cut short by the end of its tar"):
            read_encoded(record)
        path.unlink()
        with pytest.raises(ImageError, match=r"x\.tar/a\.png' could not be read from its tar \(No such file"):
            read_encoded(record)

    def test_too_long_is_refused_before_it_is_read(self):
        with pytest.raises(ImageError, match=f"more than the {MAX_BYTES:,} bytes allowed"):
            read_encoded(ImageRecord("x.tar/a.png", 0, None, TarPlace("nowhere.tar", 512, MAX_BYTES + 1)))


class TestParquetLabels:
    def test_class_names_in_either_order(self, tmp_path):
        columns = {"image": images(b"a", b"b", b"c", b"d"), "label": [0, 1, None, -1]}
        write_parquet(tmp_path / "train.parquet", columns, {"label": class_label("Fake", "REAL")})
        assert told(tmp_path / "train.parquet") == {
            "0": (1, None),
            "1": (0, None),
            "2": (None, None),
            "3": (None, None),
        }

    def test_without_names_0_is_real_and_1_is_fake(self, tmp_path):
        columns = {"image": images(b"a", b"b"), "label": [0, 1]}
        write_parquet(tmp_path / "a.parquet", columns)
        write_parquet(tmp_path / "b.parquet", columns, {"label": {"dtype": "int64", "_type": "Value"}})
        assert [record.label for record in read_records(tmp_path)] == [0, 1, 0, 1]

    def test_words(self, tmp_path):
        columns = {"image": images(b"a", b"b", b"c"), "label": ["ai", "Real", ""]}
        assert [label for label, _ in told(write_parquet(tmp_path / "a.parquet", columns)).values()] == [1, 0, None]

    def test_generators_by_name_or_number(self, tmp_path):
        columns = {"image": images(b"a", b"b", b"c"), "label": [0, 1, 1], "generator": [0, 1, None]}
        features = {"label": class_label("real", "fake"), "generator": class_label("Real", "SD14")}
        write_parquet(tmp_path / "a.parquet", columns, features)
        columns = {"image": images(b"a", b"b"), "label": [0, 1], "source": ["coco", "web"], "model": ["", " sdxl "]}
        write_parquet(tmp_path / "b.parquet", columns)
        columns = {"image": images(b"a"), "label": [0], "source": pa.array(["coco"]).dictionary_encode()}
        write_parquet(tmp_path / "c.parquet", columns)
        generators = [record.generator for record in read_records(tmp_path)]
        assert generators == [None, "SD14", None, None, "sdxl", "coco"]

    def test_without_labels_the_folders_tell(self, tmp_path):
        write_parquet(tmp_path / "fake" / "sdxl" / "a.parquet", {"image": images(b"a")})
        write_parquet(tmp_path / "b.parquet", {"image": images(b"b")})
        assert [(r.label, r.generator) for r in read_records(tmp_path)] == [(None, None), (1, "sdxl")]

    @pytest.mark.parametrize(
        ("labels", "names", "words"),
        [
            ([0, 1], ("cat", "real", "dog"), ["cat, real, dog", "of which cat, dog cannot be told", "real and fake"]),
            ([0, 2], ("real", "fake"), ["2 class names, and the number 2"]),
            ([0, 7], None, ["says '7'", "0, 1, real, fake"]),
            (["real", "maybe"], None, ["says 'maybe'"]),
            ([True, False], None, ["says 'True'"]),
        ],
    )
    def test_what_is_no_label_is_named(self, tmp_path, labels, names, words):
        features = names and {"label": class_label(*names)}
        write_parquet(tmp_path / "a.parquet", {"image": images(b"a", b"b"), "label": labels}, features)
        with pytest.raises(SourceError) as caught:
            read_records(tmp_path)
        assert all(word in str(caught.value) for word in [*words, "a.parquet"]), caught.value

    def test_metadata_that_is_not_the_hubs(self, tmp_path):
        table = pa.table({"image": images(b"a"), "label": [1]}).replace_schema_metadata({"huggingface": "{]"})
        pq.write_table(table, tmp_path / "a.parquet")
        assert read_records(tmp_path)[0].label == 1


class TestParquetRows:
    def test_paths_and_places(self, tmp_path, monkeypatch):
        columns = {"image": images(b"a", b"b", b"c"), "label": [0, 1, 0]}
        write_parquet(tmp_path / "train.parquet", columns, row_group_size=2)
        monkeypatch.chdir(tmp_path)
        assert read_records("train.parquet") == [
            ImageRecord("train.parquet/0", 0, None, ParquetPlace("train.parquet", 0, 0, "image.bytes")),
            ImageRecord("train.parquet/1", 1, None, ParquetPlace("train.parquet", 0, 1, "image.bytes")),
            ImageRecord("train.parquet/2", 0, None, ParquetPlace("train.parquet", 1, 0, "image.bytes")),
        ]
        assert [read_encoded(record) for record in read_records("*.parquet")] == [b"a", b"b", b"c"]

    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
    def test_plain_bytes_and_a_column_of_another_name(self, tmp_path, kind):
        write_parquet(tmp_path / "a.parquet", {"my.img": pa.array([b"a", b"b"], kind), "label": [0, 1]})
        assert [read_encoded(record) for record in read_records(tmp_path)] == [b"a", b"b"]

    def test_the_column_image_outweighs_others(self, tmp_path):
        write_parquet(tmp_path / "a.parquet", {"mask": images(b"m"), "image": images(b"a")})
        assert read_encoded(read_records(tmp_path)[0]) == b"a"

    @pytest.mark.parametrize("columns", [{"label": [1]}, {"left": images(b"l"), "right": images(b"r")}])
    def test_without_a_column_of_images(self, tmp_path, columns):
        write_parquet(tmp_path / "a.parquet", columns)
        with pytest.raises(
            SourceError, match=r"has a column image of encoded images .* the columns of .*a\.parquet are"
        ):
            read_records(tmp_path)

    @pytest.mark.parametrize("row_group_size", [1, 7, 32, 100, 1000])
    def test_threads_get_their_own_rows_in_any_order(self, tmp_path, row_group_size):
        rng = random.Random(0)
        encoded = [rng.randbytes(rng.randrange(1, 3000)) for _ in range(230)]
        write_parquet(tmp_path / "a.parquet", {"image": images(*encoded)}, row_group_size=row_group_size)
        records = read_records(tmp_path)
        order = list(range(230)) + rng.sample(range(230), 60)
        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(lambda index: read_encoded(records[index]), order)) == [encoded[i] for i in order]

    def test_reading_in_order_decodes_each_block_once(self, tmp_path, monkeypatch):
        encoded = [bytes([index]) * 50 for index in range(200)]
        write_parquet(tmp_path / "a.parquet", {"image": images(*encoded)}, row_group_size=100)
        opened, lock = [], threading.Lock()
        streamed = parquet_images._stream_blocks

        def counting(place):
            with lock:
                opened.append(place.row_group)
            return streamed(place)

        monkeypatch.setattr(parquet_images, "_stream_blocks", counting)
        records = read_records(tmp_path)
        with ThreadPoolExecutor(4) as pool:
            for start in range(0, 200, 16):  # as extract decodes: a batch at a time, in any order within
                list(pool.map(read_encoded, records[start : start + 16][::-1]))
        assert opened == [0, 1]

    def test_few_blocks_are_kept(self, tmp_path):
        write_parquet(tmp_path / "a.parquet", {"image": images(*[b"x"] * 1000)}, row_group_size=1000)
        for record in read_records(tmp_path):
            read_encoded(record)
        kept = parquet_images._READER._blocks
        assert len(kept) == parquet_images.CACHED_BLOCKS
        assert max(len(block) for block in kept.values()) <= parquet_images.BLOCK_ROWS

    def test_a_file_that_was_written_anew_is_read_anew(self, tmp_path):
        path = write_parquet(tmp_path / "a.parquet", {"image": images(b"old")})
        (record,) = read_records(path)
        assert read_encoded(record) == b"old"
        write_parquet(path, {"image": images(b"newer")})
        assert read_encoded(record) == b"newer"

    def test_rows_without_bytes(self, tmp_path):
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array([{"bytes": None, "path": "a.png"}, None, {"bytes": b"c", "path": None}], kind)
        write_parquet(tmp_path / "a.parquet", {"image": column, "label": [0, 1, 1]})
        records = read_records(tmp_path)
        for record in records[:2]:
            with pytest.raises(ImageError, match=r"a\.parquet/[01]' has no bytes .* with the images embedded"):
                read_encoded(record)
        assert read_encoded(records[2]) == b"c"

    def test_damage(self, tmp_path):
        path = write_parquet(tmp_path / "a.parquet", {"image": images(*[os.urandom(500) for _ in range(50)])})
        records = read_records(path)
        whole = path.read_bytes()
        path.write_bytes(whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :])
        with pytest.raises(ImageError, match=r"a\.parquet/0' could not be read from its Parquet file"):
            read_encoded(records[0])
        path.write_bytes(whole)
        assert len(read_encoded(records[49])) == 500
        path.write_bytes(whole[:-20])
        with pytest.raises(SourceError, match=r"Parquet file .*a\.parquet could not be read .* damaged or cut short"):
            read_records(path)
        path.unlink()
        with pytest.raises(ImageError, match="No such file"):
            read_encoded(records[0])

    def test_too_long(self, tmp_path, monkeypatch):
        write_parquet(tmp_path / "a.parquet", {"image": images(b"abcd")})
        monkeypatch.setattr("cinemae.sources.archives.MAX_BYTES", 3)
        with pytest.raises(ImageError, match=r"a\.parquet/0' has more than the 3 bytes allowed"):
            read_encoded(read_records(tmp_path)[0])


class TestSources:
    def test_images_outweigh_archives_beside_them(self, tmp_path):
        write_tar(tmp_path / "x.tar", [("a.png", b"a")])
        (tmp_path / "b.png").touch()
        assert [Path(record.path).name for record in read_records(tmp_path)] == ["b.png"]

    def test_tars_and_parquet_files_together_are_refused(self, tmp_path):
        write_tar(tmp_path / "x.tar", [("a.png", b"a")])
        write_parquet(tmp_path / "y.parquet", {"image": images(b"b")})
        with pytest.raises(SourceError, match=r"tars or of Parquet files, .* holds both: name one kind"):
            read_records(tmp_path)
        assert len(read_records(f"{tmp_path}/*.tar")) == len(read_records(f"{tmp_path}/**/*.parquet")) == 1

    def test_shards_in_order_of_their_names_and_paths_differ(self, tmp_path):
        for index in (2, 0, 1):
            write_tar(tmp_path / f"shard-{index:03}.tar", [("000.png", b"a"), ("001.png", b"b")])
        paths = [os.path.relpath(record.path, tmp_path) for record in read_records(tmp_path)]
        assert paths == [f"shard-{shard:03}.tar/{name:03}.png" for shard in range(3) for name in range(2)]
