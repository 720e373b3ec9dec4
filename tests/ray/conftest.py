"""A folder of pictures to judge, what a run without parts says of them, and a Ray cluster of three nodes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # ray_jobs, for the workers as well
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

if TYPE_CHECKING:
    from ray_jobs import WatchedJob

    from cinemae.sources.records import ImageRecord

NUM_PICTURES = 22


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, picture) -> Path:
    """22 pictures, and a file that is none."""
    root = tmp_path_factory.mktemp("pictures")
    for index in range(NUM_PICTURES):
        picture(index).save(root / f"{index:02d}.png")
    (root / "10-text.jpg").write_text("not a picture")
    return root


@pytest.fixture(scope="session")
def records(folder: Path) -> list[ImageRecord]:
    """The files of `folder`, by name."""
    from cinemae.sources.sources import find_records

    return list(find_records([str(folder)]))


@pytest.fixture(scope="session")
def expected(tiny_model: Path, records: list[ImageRecord]) -> list[dict[str, Any]]:
    """What `Detector.detect_batch` says of `folder`."""
    from cinemae.detect.detector import Detector

    detector = Detector.from_pretrained(tiny_model)
    return [verdict.to_dict() for verdict in detector.detect_batch([record.path for record in records])]


@pytest.fixture
def make_job(tiny_model: Path, tmp_path: Path) -> Callable[..., WatchedJob]:
    """`make_job(records, **changes)`: a watched job in parts of four, in batches of two; its log is tmp_path/log."""
    from ray_jobs import watch

    from cinemae.detect.detect_job import DetectorSource, detect_job

    def make(records: list[ImageRecord], *, part_size: int = 4, **changes: Any) -> WatchedJob:
        source = DetectorSource(str(tiny_model))
        job = detect_job(source, tmp_path / "results", records, batch_size=2, part_size=part_size)
        return watch(job, tmp_path / "log", **changes)

    return make


@pytest.fixture
def with_picture(folder: Path, tmp_path: Path, picture) -> Callable[[str], list[ImageRecord]]:
    """`with_picture("kills.png")`: the records of `folder` and, in the middle, one more of that name."""
    from cinemae.sources.sources import find_records

    def add(name: str) -> list[ImageRecord]:
        extra = tmp_path / "extra" / name
        extra.parent.mkdir(exist_ok=True)
        picture(99).save(extra)
        found = list(find_records([str(folder)]))
        return [*found[:9], *find_records([str(extra)]), *found[9:]]

    return add


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A head that does no work and two nodes of one core each, on the loopback address; not connected to."""
    os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0")
    if not os.environ.get("CINEMAE_REQUIRE_RAY"):
        pytest.importorskip("ray", reason="Ray is not installed: pip install 'cinemae[ray]'")
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    quick = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}  # a lost node is noticed sooner
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": quick, **small})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    yield cluster
    cluster.shutdown()
