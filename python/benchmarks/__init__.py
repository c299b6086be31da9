"""Benchmarks of the Python package, and of its peers in the same run.

    python -m benchmarks                    # all; a release build, a quiet machine
    python -m benchmarks --only round-trip  # some
    python -m benchmarks --peers            # ipyparallel, Dask, Ray, Parsl, mpi4py, if installed
    python -m benchmarks --quick            # shows that it works

It is run in the folder ``python/``, with the package installed, and prints tables in Markdown, with
the machine and the method. Nothing is asserted here but that the results are right.
"""
