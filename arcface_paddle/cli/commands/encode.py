"""Turn photographs into embeddings: faces are found and aligned by the same pipeline that recognises them.

arcface-paddle encode photos --output embeddings.npz
arcface-paddle encode people --output embeddings.h5         a folder per person gives one HDF5 group per person

The suffix of --output chooses the format: .npy (the matrix only), .npz, .h5 or .hdf5, .parquet. A file of a folder is
a picture when its content says so; how many others there are is said in the end.
exit codes: 0 all encoded, 1 some pictures could not be (each is reported), 2 error, nothing written
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from arcface_paddle.cli import flags, writable
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.errors import ImageError
from arcface_paddle.pipeline.settings import ALIGNED, DETECT, FACE_CHOICES, ONE

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    from arcface_paddle.pipeline.encoding import EncodedPicture
    from arcface_paddle.pipeline.inputs import Listing
    from arcface_paddle.pipeline.opening import OpenPipeline


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``encode``."""
    parser.add_argument("inputs", nargs="+", metavar="PATH", help="pictures, or folders that are searched to any depth")
    parser.add_argument("--output", required=True, metavar="FILE", help=".npy, .npz, .h5, .hdf5 or .parquet")
    parser.add_argument(
        "--faces",
        choices=FACE_CHOICES,
        default=ONE,
        help="pictures with several faces: report them (one), take the face nearest to the centre or the largest, or "
        "take all (%(default)s)",
    )
    parser.add_argument("--aligned", action="store_true", help="pictures are aligned crops already; find no faces")
    flags.add_search_options(parser)
    flags.add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Encode the pictures and write the file."""
    from arcface_paddle.pipeline.embedding_files import check_suffix, write_embeddings
    from arcface_paddle.pipeline.encoding import make_table
    from arcface_paddle.pipeline.inputs import find_pictures
    from arcface_paddle.pipeline.opening import open_pipeline

    check_suffix(args.output)
    writable.require_writable_file(args.output, option="--output")
    listing = find_pictures(args.inputs, recursive=not args.no_recursive, exclude=args.exclude)
    listing.require_pictures()
    pipeline = open_pipeline(flags.pipeline_settings(args), contents=ALIGNED if args.aligned else DETECT)
    assert pipeline.model is not None, "a pipeline that was not opened for detection alone has a recogniser"
    encoded = _encode(args, pipeline, listing)
    if not encoded:
        raise ImageError(f"none of {len(listing.pictures)} pictures gave an embedding; {args.output} was not written")
    table = make_table(encoded, model=f"{pipeline.model.name} sha256:{pipeline.model.weights_sha256}")
    write_embeddings(args.output, table)
    size = table.embeddings.shape
    print(f"{args.output}: {size[0]} embeddings of {size[1]} values from {len(encoded)} pictures")
    return EXIT_PARTIAL if len(encoded) < len(listing.pictures) else EXIT_OK


def _encode(args: argparse.Namespace, pipeline: OpenPipeline, listing: Listing) -> list[EncodedPicture]:
    """Return the pictures that gave a face; say what is to be said of them and of the others."""
    from arcface_paddle.cli.console import complain
    from arcface_paddle.pipeline.encoding import encode_pictures
    from arcface_paddle.progress import progress

    encoded = []
    pictures = progress(listing.pictures, unit="picture")
    for picture in encode_pictures(pipeline.analyzer, pictures, faces=args.faces, max_pixels=args.max_pixels):
        if picture.problem:
            complain(picture.problem)
            continue
        if picture.note:
            complain(f"{picture.source}: {picture.note}")
        encoded.append(picture)
    if listing.sentence():
        complain(listing.sentence())
    return encoded
