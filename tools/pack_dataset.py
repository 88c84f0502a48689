"""Shim over ``arcface_paddle.cli.commands.pack_dataset``; ``--help`` lists the flags."""

import sys

from arcface_paddle.cli.main import run_module

if __name__ == "__main__":
    sys.exit(run_module("pack_dataset", prog="pack_dataset.py"))
