"""joblib and scikit-learn on real workers."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

joblib = pytest.importorskip("joblib")

import taskyard.joblib  # noqa: E402

if TYPE_CHECKING:
    from taskyard.client import Client
    from taskyard.cluster import Cluster

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    taskyard.joblib.register()
    yield
    taskyard.joblib.register()


def parallel(calls: Any, n_jobs: int | None = None, **options: Any) -> Any:
    return joblib.Parallel(n_jobs=n_jobs, **options)(calls)


def pid_of(_: object = None) -> int:
    return os.getpid()


def fail(n: int) -> int:
    if n == 7:
        raise LookupError(f"no {n}")
    return n


def test_a_grid_search_comes_out_as_in_one_process(client: Client) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    X, y = load_digits(return_X_y=True)
    grid = {"C": [0.1, 1.0, 10.0], "gamma": [1e-4, 1e-3]}

    def search() -> Any:
        return GridSearchCV(SVC(), grid, cv=3, return_train_score=True).fit(X[:600], y[:600])

    expected = search()
    with joblib.parallel_config("taskyard", client=client):
        found = search()
    assert found.best_params_ == expected.best_params_
    for name, values in expected.cv_results_.items():
        if "_time" not in name:
            np.testing.assert_array_equal(found.cv_results_[name], values)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


def test_a_forest_comes_out_as_in_one_process(client: Client) -> None:
    np = pytest.importorskip("numpy")
    pytest.importorskip("sklearn")
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import cross_val_score

    X, y = make_classification(400, random_state=0)
    # Nested: the folds are in the workers, and each has a forest that is parallel by itself.
    forest = RandomForestClassifier(20, random_state=0, n_jobs=2)
    expected = cross_val_score(forest, X, y, cv=4)
    with joblib.parallel_config("taskyard", client=client):
        found = cross_val_score(forest, X, y, cv=4)
    np.testing.assert_array_equal(found, expected)


def test_all_calls_come_back_in_their_order(client: Client) -> None:
    with joblib.parallel_config("taskyard", client=client):
        assert parallel(joblib.delayed(abs)(-n) for n in range(500)) == list(range(500))


def test_many_small_calls_travel_together(client: Client) -> None:
    with joblib.parallel_config("taskyard", client=client), joblib.Parallel() as parallel:
        assert parallel(joblib.delayed(abs)(n) for n in range(20_000)) == list(range(20_000))
        assert parallel.n_dispatched_batches < 5_000


def test_what_is_defined_here_goes_along(client: Client) -> None:
    offset = 5
    with joblib.parallel_config("taskyard", client=client):
        assert parallel(joblib.delayed(lambda x: x + offset)(n) for n in range(5)) == [
            5,
            6,
            7,
            8,
            9,
        ]


def test_the_work_is_done_by_workers(client: Client, cluster: Cluster) -> None:
    with joblib.parallel_config("taskyard", client=client):
        pids = set(parallel(joblib.delayed(pid_of)() for _ in range(100)))
    assert os.getpid() not in pids
    assert pids


@pytest.mark.parametrize("how", ["generator", "generator_unordered"])
def test_results_can_be_had_one_by_one(client: Client, how: str) -> None:
    with joblib.parallel_config("taskyard", client=client):
        results = parallel((joblib.delayed(abs)(-n) for n in range(50)), return_as=how)
        assert sorted(results) == list(range(50))


def test_an_error_is_raised_with_what_the_worker_says(client: Client) -> None:
    with joblib.parallel_config("taskyard", client=client):
        with pytest.raises(LookupError, match="no 7"):
            parallel(joblib.delayed(fail)(n) for n in range(100))
        # And it works as before.
        assert parallel(joblib.delayed(abs)(n) for n in range(10)) == list(range(10))


def test_an_error_aborts_what_runs(client: Client, tmp_path: Path) -> None:
    def work(n: int, folder: str) -> None:
        if n == 0:
            # Not before another is in the middle of it.
            while not os.path.exists(f"{folder}/started"):
                time.sleep(0.005)
            raise LookupError("stop")
        Path(folder, "started").touch()
        for _ in range(12_000):
            time.sleep(0.01)

    with joblib.parallel_config("taskyard", client=client), pytest.raises(LookupError):
        parallel((joblib.delayed(work)(n, str(tmp_path)) for n in range(4)), batch_size=1)
    # Both workers are free again long before the two minutes are over.
    assert client.all.submit(pid_of).results(WAIT_S)


def test_what_cannot_be_sent_is_an_error_and_no_hang(client: Client) -> None:
    lock = threading.Lock()
    calls: list[Any] = [joblib.delayed(abs)(n) for n in range(200)]
    # Late enough to be sent from a callback.
    calls.append(joblib.delayed(id)(lock))
    with joblib.parallel_config("taskyard", client=client):
        with pytest.raises(TypeError, match="lock"):
            parallel(calls, batch_size=1)
        with pytest.raises(TypeError, match="lock"):
            parallel([joblib.delayed(id)(lock)] * 50, n_jobs=2, batch_size=1)
        assert parallel(joblib.delayed(abs)(n) for n in range(10)) == list(range(10))


def test_n_jobs_bounds_how_many_run_at_once(client: Client, tmp_path: Path) -> None:
    def work(n: int, folder: str) -> int:
        path = Path(folder, str(n))
        path.touch()
        count = len(list(Path(folder).iterdir()))
        time.sleep(0.01)
        path.unlink()
        return count

    (tmp_path / "two").mkdir()
    with joblib.parallel_config("taskyard", client=client):
        calls = [joblib.delayed(work)(n, str(tmp_path / "two")) for n in range(40)]
        assert max(parallel(calls, n_jobs=2, batch_size=1, pre_dispatch="all")) <= 2
        # One at a time is here, without the workers.
        assert set(parallel([joblib.delayed(pid_of)()] * 5, n_jobs=1)) == {os.getpid()}
        with pytest.raises(ValueError, match="n_jobs == 0"):
            parallel([joblib.delayed(abs)(1)], n_jobs=0)


def test_effective_n_jobs_counts_the_workers(client: Client) -> None:
    with joblib.parallel_config("taskyard", client=client):
        assert joblib.effective_n_jobs(-1) == 2
        assert joblib.effective_n_jobs(-2) == 1
        assert joblib.effective_n_jobs(5) == 5


def test_nested_calls_do_not_wait_for_workers_that_wait(client: Client) -> None:
    def outer(n: int) -> int:
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-n) for _ in range(3)))

    with joblib.parallel_config("taskyard", client=client):
        assert parallel(joblib.delayed(outer)(n) for n in range(20)) == [3 * n for n in range(20)]


def test_the_client_of_the_with_is_used(client: Client) -> None:
    with joblib.parallel_config("taskyard"):
        pids = set(parallel(joblib.delayed(pid_of)() for _ in range(50)))
    assert pids <= set(client.map(pid_of, range(50), chunksize=1)) | pids
    assert os.getpid() not in pids


def test_the_client_that_was_registered_is_used(client: Client) -> None:
    taskyard.joblib.register(client.worker("worker-1"), make_default=False)
    with joblib.parallel_config("taskyard"):
        pids = set(parallel(joblib.delayed(pid_of)() for _ in range(50)))
    assert len(pids) == 1


def test_options_reach_the_tasks(client: Client) -> None:
    with (
        joblib.parallel_config("taskyard", client=client, finish_within=0.2),
        pytest.raises(TimeoutError),
    ):
        parallel([joblib.delayed(time.sleep)(60)] * 2)


def test_threads_of_libraries_can_be_bounded(client: Client) -> None:
    pytest.importorskip("threadpoolctl")

    def threads() -> list[int]:
        import numpy  # noqa: F401
        import threadpoolctl

        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]

    with joblib.parallel_config("taskyard", client=client, inner_max_num_threads=1):
        for counts in parallel(joblib.delayed(threads)() for _ in range(4)):
            assert set(counts) <= {1}
