"""What is measured, each behind the same two calls: one task, and many."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from benchmarks.measure import Transport
from taskyard import Client, Cluster


class Subject(Protocol):
    """Something with workers that a no-op can be sent to."""

    def round_trip(self) -> None:
        """Submits one task and waits for its result."""

    def burst(self, count: int) -> None:
        """Submits tasks one by one, and then waits for all results."""


class Futures:
    """Anything whose ``submit`` gives something with a result."""

    def __init__(self, submit: Callable[..., Any], result: Callable[[Any], Any]) -> None:
        self._submit = submit
        self._result = result

    def round_trip(self) -> None:
        """One task."""
        assert self._result(self._submit(int)) == 0

    def burst(self, count: int) -> None:
        """Many tasks."""
        submit, result = self._submit, self._result
        futures = [submit(int) for _ in range(count)]
        assert not any(result(future) for future in futures)


@contextlib.contextmanager
def ours(transport: Transport, workers: int) -> Iterator[Subject]:
    """This package."""
    with Cluster(workers=workers, transport=transport) as cluster, Client(cluster) as client:
        yield Futures(client.submit, lambda future: future.result())


@contextlib.contextmanager
def dask(workers: int) -> Iterator[Subject]:
    """dask.distributed."""
    import distributed

    # Futures of equal calls are one and the same to it, unless they are called impure.
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield Futures(lambda call: client.submit(call, pure=False), lambda future: future.result())


@contextlib.contextmanager
def ray(workers: int) -> Iterator[Subject]:
    """Ray."""
    import ray as package

    package.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        nothing = package.remote(_zero)
        yield Futures(lambda _: nothing.remote(), package.get)
    finally:
        package.shutdown()


@contextlib.contextmanager
def ipyparallel(workers: int) -> Iterator[Subject]:
    """ipyparallel, its load-balanced view."""
    import ipyparallel as package

    with package.Cluster(n=workers, log_level=40) as client:
        client.wait_for_engines(workers)
        view = client.load_balanced_view()
        yield Futures(view.apply_async, lambda result: result.get())


@contextlib.contextmanager
def parsl(workers: int) -> Iterator[Subject]:
    """Parsl, its executor for high throughput."""
    import tempfile

    import parsl as package
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor

    with tempfile.TemporaryDirectory() as folder:
        executor = HighThroughputExecutor(
            address="127.0.0.1", max_workers_per_node=workers, cores_per_worker=0.001
        )
        package.load(Config(executors=[executor], run_dir=folder))
        try:
            app = package.python_app(_zero)
            yield Futures(lambda _: app(), lambda future: future.result())
        finally:
            package.dfk().cleanup()
            package.clear()


def _zero() -> int:
    return 0


@contextlib.contextmanager
def mpi4py(workers: int) -> Iterator[Subject]:
    """mpi4py.futures."""
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor(max_workers=workers) as executor:
        yield Futures(executor.submit, lambda future: future.result())


PEERS: dict[str, Callable[[int], contextlib.AbstractContextManager[Subject]]] = {
    "ipyparallel": ipyparallel,
    "Dask": dask,
    "Ray": ray,
    "Parsl": parsl,
    "mpi4py.futures": mpi4py,
}
