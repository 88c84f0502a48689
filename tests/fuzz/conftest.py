"""Hostile inputs are tried in processes that are limited as POSIX limits them, which Windows does not."""

import sys

collect_ignore_glob = ["test_*.py"] if sys.platform == "win32" else []
