"""Shim over ``arcface_paddle.cli.commands.export``; ``python export_inference_model.py --help`` lists the flags."""

import sys

from arcface_paddle.cli.main import run_module

if __name__ == "__main__":
    sys.exit(run_module("export", prog="export_inference_model.py"))
