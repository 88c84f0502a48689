"""Shim over ``arcface-paddle data convert``: RecordIO to per-image .bin, pictures or folders, and back.

python tools/convert_recordio.py faces_emore/ MS1M_bin/ --to bin
python tools/convert_recordio.py MS1M_bin/ faces/ --to recordio
"""

import sys

from arcface_paddle.cli.main import run_module

if __name__ == "__main__":
    sys.exit(run_module("data_convert", prog="convert_recordio.py"))
