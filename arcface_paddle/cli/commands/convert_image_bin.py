"""Turn a folder of pictures into per-image .bin files, or back; recursive, parallel, lossless, resumable.

python tools/convert_image_bin.py --image_path="in" --bin_path="out" --mode="image2bin"
python tools/convert_image_bin.py --image_path="in" --bin_path="out" --mode="bin2image"
python tools/convert_image_bin.py --bin_path="in" --image_path="out" --mode="bin2image"

image2bin reads pictures from --image_path and writes .bin files into --bin_path. bin2image takes its paths in either
order, as the published README (second line) or as the published program (third line): the folder that holds .bin files
is read, the other one is written, and which is which is said first. Folders inside keep their places. The bytes of a
picture are stored as they are and come back identical; the suffix of a picture that comes back follows its content.
What an earlier run has written is kept. Files whose names are not those of pictures (of .bin files) are counted and
passed over; hidden ones do not count.

exit codes: 0 everything converted; 1 some files could not be (each is named); 2 wrong use or an error; 130 interrupted
"""

from __future__ import annotations

import argparse
from pathlib import Path

from arcface_paddle.cli.data_flags import LEFT_OUT, add_workers, progress_bar, report_bad
from arcface_paddle.cli.writable import require_writable_folder
from arcface_paddle.data.convert import bins_to_images, images_to_bins, list_bins, list_pictures, source_of_bins


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the published flags and --workers."""
    parser.add_argument("--image_path", required=True, help="folder of the pictures (bin2image: see above)")
    parser.add_argument("--bin_path", required=True, help="folder of the .bin files (bin2image: see above)")
    parser.add_argument("--mode", required=True, choices=("image2bin", "bin2image"), help="direction")
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Convert and report."""
    to_bin = args.mode == "image2bin"
    if to_bin:
        source, target = args.image_path, args.bin_path
    else:
        source, target = source_of_bins(args.image_path, args.bin_path)
    require_writable_folder(target, option="--bin_path" if target == args.bin_path else "--image_path")
    if not to_bin:
        print(f"reading .bin files from {source}, writing pictures to {target}")
    tree = list_pictures(source) if to_bin else list_bins(source)
    convert = images_to_bins if to_bin else bins_to_images
    with progress_bar(len(tree.wanted), "files") as bar:
        report = convert(tree, target, workers=args.workers, progress=bar.update)
    print(f"{target}: {report.written} files written, {report.unchanged} were there, {len(report.bad)} left out")
    if tree.others:
        what, one = "pictures" if to_bin else ".bin files", tree.others[0]
        print(f"{source}: passed over {len(tree.others)} files that are no {what} by their names, such as {one}")
    return report_bad(report.bad, Path(target) / LEFT_OUT)
