"""The parts of ``tools/mutation.py``: changed programs, and whether the tests notice."""
