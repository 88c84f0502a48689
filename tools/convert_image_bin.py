"""Shim over ``arcface_paddle.cli.commands.convert_image_bin``; ``--help`` lists the flags."""

import sys

from arcface_paddle.cli.main import run_module

if __name__ == "__main__":
    sys.exit(run_module("convert_image_bin", prog="convert_image_bin.py"))
