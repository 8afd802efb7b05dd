"""Faults on purpose, and whether the server keeps what it promised: ``python -m faults --short``.

Not part of the package that is installed, and not collected by pytest: it is a program with a seed and a report, like
``benchmarks/``. The short tier of it is in ``tests/integration/test_promise.py``.
"""
