"""The topics of tools/benchmark.py."""
