"""Shim over ``arcface-paddle data convert --to packed``: any dataset to packed shards.

python tools/pack_dataset.py MS1M_bin/ packed/
"""

import sys

from arcface_paddle.cli.main import run_module

if __name__ == "__main__":
    sys.exit(run_module("data_convert", [*sys.argv[1:], "--to", "packed"], prog="pack_dataset.py"))
