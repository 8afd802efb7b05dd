"""Random bytes for whatever reads bytes of others: ``python -m fuzz --seconds 60``.

Not part of the package that is installed, and not collected by pytest: a program with a seed and a report, like
``faults/``. A short round of it is in ``tests/test_fuzz.py``.
"""
