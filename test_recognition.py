"""Shim over ``arcface_paddle.cli.commands.recognize``; ``python test_recognition.py --help`` lists the flags."""

import sys

from arcface_paddle.cli.main import run_module

if __name__ == "__main__":
    sys.exit(run_module("recognize", prog="test_recognition.py"))
