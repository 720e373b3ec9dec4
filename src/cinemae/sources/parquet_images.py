"""Parquet files with encoded images, in the layout of the Hugging Face Hub: which, where, and with which label.

The column ``image`` is a struct of bytes and path, or plain binary. The column ``label`` holds words, or numbers that
the ClassLabel names in the schema's metadata explain by the same words as folders; without names 0 is real and 1 is
fake. Without that column the folders around the file tell the label. ``generator``, ``model`` or ``source`` (the first
there is) names the generator.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from cinemae.errors import ImageError, MissingDependencyError, SourceError, first_line
from cinemae.sources.labels import LABEL_WORDS, generator_of_value, label_from_folders, label_of_name, label_of_value
from cinemae.sources.records import ImageRecord, ParquetPlace
from cinemae.sources.remote import open_binary, reading
from cinemae.sources.remote_object import is_remote, shown

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise MissingDependencyError("Parquet data sets need pyarrow: pip install 'cinemae[data]'.") from error

GENERATOR_COLUMNS = ("generator", "model", "source")
BLOCK_ROWS = 32
"""Rows that are fetched at a time."""
CACHED_BLOCKS = 4
"""Blocks that are kept: what threads that read in order, a few batches ahead, can be in need of."""
_OPEN_STREAMS = 2  # at the end of a row group, threads read from both it and the next


def read_parquet(file: str, root: Path, *, labelled: bool = True) -> Iterator[ImageRecord]:
    """List the images in a Parquet file, in its order; the columns with images are not read.

    Args:
        file: The Parquet file, a path or a URI.
        root: The folder that labels are looked for below, and in whose own name, where there is no column ``label``.
        labelled: Whether to look for labels at all.

    Yields:
        Records with `ParquetPlace`, whose paths are the file's, a slash and the number of the row in the file.

    Raises:
        SourceError: If the file is damaged, has no column of images, or tells a label that is none.
    """
    number = 0
    outer_label, outer_generator = None, None
    if labelled:
        outer_label, outer_generator = label_from_folders(Path(file).parts[len(root.parts) : -1], root.name)
    with reading(f"the Parquet file {shown(file)}", pa.ArrowException), _open(file) as parquet:
        schema = parquet.schema_arrow
        image_column = _image_column(schema, file)
        columns = schema.names if labelled else ()
        generator_column = next((name for name in GENERATOR_COLUMNS if name in columns), None)
        for row_group in range(parquet.num_row_groups):
            num_rows = parquet.metadata.row_group(row_group).num_rows
            labels: list[int | None] = [outer_label] * num_rows
            generators: list[str | None] = [outer_generator] * num_rows
            if "label" in columns:
                labels = _labels(_read_column(parquet, row_group, "label"), _class_names(schema, "label"), file)
            if generator_column:
                names = _class_names(schema, generator_column)
                values = _read_column(parquet, row_group, generator_column)
                generators = [generator_of_value(_name_of(value, names)) for value in values]
            for row, (label, generator) in enumerate(zip(labels, generators, strict=True)):
                place = ParquetPlace(file, row_group, row, image_column)
                yield ImageRecord(f"{file}/{number}", label, generator, place)
                number += 1


def read_row(path: str, place: ParquetPlace) -> bytes:
    """Return the encoded image at a place; threads may share it.

    Args:
        path: The image's name, for the error.
        place: Where its bytes lie.

    Raises:
        ImageError: If the file cannot be read, or the row has no bytes.
    """
    try:
        data = _READER.read(place)
    except (pa.ArrowException, OSError, ValueError, LookupError, StopIteration) as error:
        raise ImageError(
            f"image {path!r} could not be read from its Parquet file ({first_line(error)}): check the file."
        ) from error
    if data is None:
        raise ImageError(f"image {path!r} has no bytes in its Parquet file: write it again with the images embedded.")
    return data


class _RowReader:
    """Rows by their place. What it returns depends on the files alone: what is kept only saves work.

    A row group can be as large as a file, so it is streamed in blocks of rows: one block after the other, from its
    start. Rows that are asked for in order cost one pass, however many threads ask. Held are a few blocks, and the
    pages that Parquet itself reads whole (the Hub's files have 100 rows a group).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[object, ...], list[bytes | None]] = OrderedDict()
        self._streams: OrderedDict[tuple[object, ...], tuple[int, Iterator[list[bytes | None]]]] = OrderedDict()

    def read(self, place: ParquetPlace) -> bytes | None:
        source = (place.file, *_version(place.file), place.row_group, place.column)
        wanted = place.row // BLOCK_ROWS
        with self._lock:
            if (*source, wanted) not in self._blocks:
                self._fetch(source, place, wanted)
            self._blocks.move_to_end((*source, wanted))
            return self._blocks[(*source, wanted)][place.row % BLOCK_ROWS]

    def _fetch(self, source: tuple[object, ...], place: ParquetPlace, wanted: int) -> None:
        next_block, stream = self._streams.pop(source, (None, iter(())))
        if next_block is None or next_block > wanted:
            next_block, stream = 0, _stream_blocks(place)
        for _ in range(next_block, wanted + 1):
            block = next(stream)
        self._streams[source] = (wanted + 1, stream)
        while len(self._streams) > _OPEN_STREAMS:
            self._streams.popitem(last=False)
        self._blocks[(*source, wanted)] = block
        while len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)


def _stream_blocks(place: ParquetPlace) -> Iterator[list[bytes | None]]:
    # With a buffer and without reading ahead Arrow reads page by page, not a row group's whole column before its first
    # row. No memory map: a file that is cut short while it is mapped would end the process.
    with _open(place.file, buffer_size=2**20) as parquet:
        rows: list[bytes | None] = []
        group, columns = [place.row_group], [place.column]
        for batch in parquet.iter_batches(BLOCK_ROWS, row_groups=group, columns=columns, use_threads=False):
            column = batch.column(0)
            rows += (column.flatten()[0] if pa.types.is_struct(column.type) else column).to_pylist()
            while len(rows) >= BLOCK_ROWS:
                yield rows[:BLOCK_ROWS]
                rows = rows[BLOCK_ROWS:]
        yield rows


@contextmanager
def _open(file: str, buffer_size: int = 0) -> Iterator[Any]:
    """Open a file, to be read with use_threads=False.

    `source` may be a Python object: a thread of Arrow's that lets go of it only when Python ends aborts the process.
    """
    with (
        open_binary(file) if is_remote(file) else nullcontext(file) as source,
        pq.ParquetFile(source, buffer_size=buffer_size, pre_buffer=False) as parquet,
    ):
        yield parquet


def _version(file: str) -> tuple[int, ...]:
    """Return what changes when a local file does; objects are taken not to change during a run."""
    if is_remote(file):
        return ()
    status = Path(file).stat()
    return status.st_mtime_ns, status.st_size


_READER = _RowReader()


def _image_column(schema: Any, file: str) -> str:  # noqa: ANN401 - pyarrow has no types
    """Return the leaf column with the encoded images: of the column ``image``, or of the only other one of its kind."""
    leaves: dict[str, str] = {}
    for field in schema:
        if _is_binary(field.type):
            leaves[field.name] = str(field.name)
        elif pa.types.is_struct(field.type) and any(
            leaf.name == "bytes" and _is_binary(leaf.type) for leaf in field.type
        ):
            leaves[field.name] = f"{field.name}.bytes"
    if len(leaves) == 1:
        return next(iter(leaves.values()))
    if "image" in leaves:
        return leaves["image"]
    found = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    raise SourceError(
        "a Parquet data set has a column image of encoded images (binary, or a struct with bytes); the columns of "
        f"{file} are {found}: rename the right one, or write the file again."
    )


def _is_binary(kind: Any) -> bool:  # noqa: ANN401
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _read_column(parquet: Any, row_group: int, name: str) -> list[Any]:  # noqa: ANN401
    values: list[Any] = parquet.read_row_group(row_group, columns=[name], use_threads=False)[name].to_pylist()
    return values


def _class_names(schema: Any, column: str) -> list[str] | None:  # noqa: ANN401
    """Return the names that the Hub's metadata gives to the numbers of a column; None where it gives none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return None


def _name_of(value: object, names: list[str] | None) -> object:
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


def _labels(values: list[Any], names: list[str] | None, file: str) -> list[int | None]:
    where = f"the column label of {file}"
    unknown = [name for name in names or () if label_of_name(name) is None and name not in LABEL_WORDS]
    if unknown:
        raise SourceError(
            f"class names for labels are real and fake, or folder names that stand for them; {where} has "
            f"{', '.join(names or ())}, of which {', '.join(unknown)} cannot be told: write the file again with such "
            "names."
        )
    label_of: dict[Any, int | None] = {None: None}
    if names is not None:
        label_of[-1] = None  # the Hub's mark for no label
    for value in dict.fromkeys(values):
        if value not in label_of:
            name = _name_of(value, names)
            if name is None:
                raise SourceError(f"{where} has {len(names or ())} class names, and the number {value}: correct it.")
            label_of[value] = label_of_value(name, where)
    return [label_of[value] for value in values]
