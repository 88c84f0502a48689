"""Shim over ``arcface_paddle.cli.commands.valid``; ``python valid.py --help`` lists the flags."""

import sys

from arcface_paddle.cli.main import run_module

if __name__ == "__main__":
    sys.exit(run_module("valid", prog="valid.py"))
