"""A discrete-event simulation of reader → decoder → model → writer, with a queue before each.

Images travel one by one. A machine has cores, shared by decoding, the model and writing; a graphics processor, if it
has one, takes the model's batches in place of the cores. Machines share the store that they read from: so many requests
a second and so many bytes. Service times are drawn from measured ones.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import simpy

Events = Generator[Any, Any, None]


@dataclass(frozen=True)
class Stages:
    """Measured seconds of each image on one core, one entry an image; row i of each is the same image.

    Attributes:
        read: To get the bytes, besides what `Cluster` says of the store.
        decode: To decode, measure and preprocess.
        model: To score.
        write: To word the verdict and write it.
    """

    read: Sequence[float]
    decode: Sequence[float]
    model: Sequence[float]
    write: Sequence[float]


@dataclass(frozen=True)
class Cluster:
    """The machines, and the store they read from.

    Attributes:
        machines: How many.
        cores: Of each.
        workers: Processes of each that take an image from its bytes to its verdict, or to the GPU's queue.
        gpu_rate: Images a second that each machine's GPU scores; None: the cores do.
        gpu_batch: Images it takes together.
        prefetch: Images fetched ahead by each machine.
        latency: Seconds until the store begins to answer.
        requests_per_s: That the store answers, all machines together; None for no limit.
        bytes_per_s: Of each machine's network; None for no limit.
        image_bytes: Of one image.
    """

    machines: int = 1
    cores: int = 2
    workers: int = 1
    gpu_rate: float | None = None
    gpu_batch: int = 64
    prefetch: int = 16
    latency: float = 0.0
    requests_per_s: float | None = None
    bytes_per_s: float | None = None
    image_bytes: float = 0.0


@dataclass
class Outcome:
    """What a run came to.

    Attributes:
        images: Scored.
        seconds: From the first request to the last row.
        busy: Share of the time that each resource worked.
    """

    images: int
    seconds: float
    busy: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds

    @property
    def bottleneck(self) -> str:
        """The busiest resource."""
        return max(self.busy, key=lambda name: self.busy[name])


class _Meter:
    """A resource that knows how long it worked."""

    def __init__(self, world: simpy.Environment, capacity: int) -> None:
        self.world, self.capacity, self.worked = world, capacity, 0.0
        self._resource = simpy.Resource(world, capacity)

    def work(self, seconds: float) -> Events:
        with self._resource.request() as turn:
            yield turn
            yield self.world.timeout(seconds)
            self.worked += seconds

    def share(self) -> float:
        return self.worked / (self.capacity * self.world.now)


def simulate(stages: Stages, cluster: Cluster, images: int, *, seed: int) -> Outcome:
    """Send `images` through a cluster.

    Args:
        stages: Measured service times.
        cluster: Where.
        images: How many; enough that filling and emptying the queues does not count.
        seed: Of the images drawn.
    """
    world = simpy.Environment()
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(stages.model), size=images)
    store = _Meter(world, 1)
    meters: dict[str, list[_Meter]] = {"cores": [], "network": [], "gpu": []}
    left = iter(drawn)
    done: list[simpy.Process] = []
    for _ in range(cluster.machines):
        cores, network = _Meter(world, cluster.cores), _Meter(world, 1)
        meters["cores"].append(cores)
        meters["network"].append(network)
        fetched = simpy.Store(world, capacity=cluster.prefetch)
        readers = [world.process(_read(world, cluster, left, store, network, fetched)) for _ in range(cluster.prefetch)]
        scored = None
        if cluster.gpu_rate is not None:
            scored = simpy.Store(world, capacity=4 * cluster.gpu_batch)
            meters["gpu"].append(gpu := _Meter(world, 1))
            done.append(world.process(_run_gpu(world, cluster, scored, gpu, cluster.workers)))
        done += [world.process(_work(stages, cores, fetched, scored)) for _ in range(cluster.workers)]
        world.process(_close(readers, fetched, cluster.workers))
    world.run(until=simpy.AllOf(world, done))
    busy = {name: float(np.mean([meter.share() for meter in several])) for name, several in meters.items() if several}
    if cluster.requests_per_s:
        busy["store"] = store.share()
    return Outcome(images, world.now, busy)


def _read(
    world: simpy.Environment,
    cluster: Cluster,
    left: Any,
    store: _Meter,
    network: _Meter,
    fetched: simpy.Store,
) -> Events:
    for image in left:
        if cluster.requests_per_s:
            yield from store.work(1 / cluster.requests_per_s)
        if cluster.latency:
            yield world.timeout(cluster.latency)
        if cluster.bytes_per_s:
            yield from network.work(cluster.image_bytes / cluster.bytes_per_s)
        yield fetched.put(image)


def _close(readers: Sequence[simpy.Process], fetched: simpy.Store, workers: int) -> Events:
    yield from readers
    for _ in range(workers):
        yield fetched.put(None)


def _work(stages: Stages, cores: _Meter, fetched: simpy.Store, scored: simpy.Store | None) -> Events:
    while (image := (yield fetched.get())) is not None:
        before = stages.read[image] + stages.decode[image]
        if scored is None:
            yield from cores.work(before + stages.model[image] + stages.write[image])
        else:
            yield from cores.work(before + stages.write[image])
            yield scored.put(image)
    if scored is not None:
        yield scored.put(None)


def _run_gpu(world: simpy.Environment, cluster: Cluster, scored: simpy.Store, gpu: _Meter, workers: int) -> Events:
    assert cluster.gpu_rate is not None
    batch = 0
    while workers or batch:
        while workers and batch < cluster.gpu_batch and (scored.items or not batch):
            if (yield scored.get()) is None:
                workers -= 1
            else:
                batch += 1
        if batch:
            yield from gpu.work(batch / cluster.gpu_rate)
        batch = 0
