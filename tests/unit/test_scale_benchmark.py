import pytest
from benchmarks.scale.page import render
from benchmarks.scale.pipeline import Cluster, Stages, simulate

EVEN = Stages(read=[0.01], decode=[0.04], model=[0.1], write=[0.0])


def test_one_worker_takes_the_sum_of_the_stages():
    found = simulate(EVEN, Cluster(cores=2, workers=1), 400, seed=0)
    assert found.rate == pytest.approx(1 / 0.15, rel=1e-6)
    assert found.busy["cores"] == pytest.approx(0.5)


@pytest.mark.parametrize(("workers", "cores", "times"), [(2, 2, 2), (4, 2, 2), (2, 1, 1)])
def test_workers_share_the_cores(workers, cores, times):
    found = simulate(EVEN, Cluster(cores=cores, workers=workers), 400, seed=0)
    assert found.rate == pytest.approx(times / 0.15, rel=0.01)


def test_a_slow_gpu_is_the_bottleneck_and_a_fast_one_is_not():
    slow = simulate(EVEN, Cluster(cores=8, workers=8, gpu_rate=50.0), 2000, seed=0)
    assert slow.bottleneck == "gpu"
    assert slow.rate == pytest.approx(50, rel=0.05)
    fast = simulate(EVEN, Cluster(cores=8, workers=8, gpu_rate=5000.0), 2000, seed=0)
    assert fast.bottleneck == "cores"
    assert fast.rate == pytest.approx(8 / 0.05, rel=0.05)


def test_machines_add_up_until_the_store_has_no_more_to_give():
    cluster = Cluster(machines=4, cores=4, workers=4, requests_per_s=60.0)
    found = simulate(EVEN, cluster, 2000, seed=0)
    assert found.bottleneck == "store"
    assert found.rate == pytest.approx(60, rel=0.05)
    free = simulate(EVEN, Cluster(machines=4, cores=4, workers=4), 2000, seed=0)
    assert free.rate == pytest.approx(4 * 4 / 0.15, rel=0.05)


def test_latency_is_hidden_by_fetching_ahead_as_far_as_that_goes():
    far = Cluster(cores=4, workers=4, latency=1.0, prefetch=64)
    assert simulate(EVEN, far, 2000, seed=0).rate == pytest.approx(4 / 0.15, rel=0.06)
    hasty = Cluster(cores=4, workers=4, latency=1.0, prefetch=4)
    assert simulate(EVEN, hasty, 500, seed=0).rate == pytest.approx(4, rel=0.06)


def test_times_are_drawn_and_the_same_for_the_same_seed():
    varied = Stages(read=[0.0, 0.0], decode=[0.01, 0.05], model=[0.1, 0.2], write=[0.0, 0.0])
    first, again, other = (simulate(varied, Cluster(), 2000, seed=seed).seconds for seed in (1, 1, 2))
    assert first == again != other
    assert first == pytest.approx(2000 * 0.18, rel=0.03)


def test_the_page_says_what_was_missed():
    targets = [
        {"what": f"simulated against measured, {count} worker(s), relative", "value": value, "bound": 0.15}
        for count, value in ((1, 0.02), (2, 0.4))
    ]
    record = {
        "when": "2026-01-01T00:00:00",
        "load_before": 1.0,
        "machine": {"cores": 2, "cpu": "a processor"},
        "settings": {"size": "1024x768", "clock": "wall"},
        "figures": {"an image, bytes": 1e5, "a row of results, bytes": 700.0},
        "targets": targets,
        "samples": {
            f"stage {name}, both cores busy": getattr(EVEN, name) for name in ("read", "decode", "model", "write")
        },
    }
    page = render(record)
    assert "| 1 worker(s) | 2.0 % | 15 % |" in page
    assert "| 2 worker(s) | 40.0 % | 15 % **missed** |" in page
    assert "outside its tolerance" in page
    assert page.count("| 1 B | ") == 3
