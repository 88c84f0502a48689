"""Turn photographs into embeddings: faces are found and aligned by the same pipeline that recognises them.

arcface-paddle encode photos --output embeddings.npz
arcface-paddle encode people --output embeddings.h5         a folder per person gives one HDF5 group per person

arcface-paddle encode archive --output e.parquet --shard_size 10000 --resume    many: e-00000.parquet, ..., goes on

The suffix of --output chooses the format: .npy (the matrix only), .npz, .h5 or .hdf5, .parquet. A file of a folder is
a picture when its content says so; how many others there are is said in the end.
With --shard_size the memory stays the same however many pictures there are, and finished files stay when the run is
stopped; e.shards.json lists them.
exit codes: 0 all encoded, 1 some pictures could not be (each is reported), 2 error, nothing written but finished shards
"""

from __future__ import annotations

import argparse
import itertools
from typing import TYPE_CHECKING, Iterable, Iterator

from arcface_paddle.cli import flags, writable
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline.settings import ALIGNED, DETECT, FACE_CHOICES, ONE

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    from arcface_paddle.pipeline.encoding import EncodedPicture
    from arcface_paddle.pipeline.inputs import FoundPicture, Listing


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
    sharding = parser.add_argument_group("many pictures")
    sharding.add_argument(
        "--shard_size",
        type=flags.positive,
        metavar="N",
        help="write a file for every N pictures, NAME-00000 and so on, listed in NAME.shards.json (default: one file)",
    )
    sharding.add_argument(
        "--resume",
        action="store_true",
        help="with --shard_size: go on behind the shards of an earlier run, or begin if there are none",
    )
    flags.add_search_options(parser)
    flags.add_workers_option(parser)
    flags.add_model_options(parser)


def run(args: argparse.Namespace) -> int:
    """Encode the pictures and write the file or the shards."""
    from arcface_paddle.pipeline.embedding_files import check_suffix
    from arcface_paddle.pipeline.embedding_shards import index_path_of
    from arcface_paddle.pipeline.inputs import find_pictures

    check_suffix(args.output)
    writable.require_writable_file(args.output, option="--output")
    if args.resume and args.shard_size is None:
        raise ConfigError("--resume needs --shard_size N; one file is written as a whole or not at all")
    if args.shard_size is not None:
        writable.require_writable_text(str(index_path_of(args.output)), option="--output")
    listing = find_pictures(args.inputs, recursive=not args.no_recursive, exclude=args.exclude)
    listing.require_pictures()
    encoder = _Encoder(args, pictures=len(listing.pictures))
    return _write_one(args, encoder, listing) if args.shard_size is None else _write_shards(args, encoder, listing)


class _Encoder:
    """Loaded models and workers; says what is to be said of each picture."""

    def __init__(self, args: argparse.Namespace, *, pictures: int) -> None:
        from arcface_paddle.pipeline.opening import open_pipeline
        from arcface_paddle.pipeline.picture_workers import PictureWorkers

        count, settings = flags.worker_settings(args, flags.pipeline_settings(args), pictures=pictures)
        contents = ALIGNED if args.aligned else DETECT
        pipeline = open_pipeline(settings, contents=contents)
        assert pipeline.model is not None, "a pipeline that was not opened for detection alone has a recogniser"
        self.model = f"{pipeline.model.name} sha256:{pipeline.model.weights_sha256}"
        own = {"aligned": args.aligned, "faces": args.faces, "max_pixels": args.max_pixels}
        # Another engine changes the fifth decimal, threads and workers nothing: a run may go on on another machine.
        models = {key: value for key, value in pipeline.facts.items() if key not in ("engine", "threads")}
        self.facts = {"model": self.model, **own, **models}
        self._workers = PictureWorkers(
            pipeline.analyzer, reopen=lambda: open_pipeline(settings, contents=contents).analyzer, count=count
        )
        self._args = args

    def encode(self, pictures: Iterable[FoundPicture]) -> Iterator[EncodedPicture]:
        """Give every picture in order, with its faces or its problem, which is said."""
        from arcface_paddle.cli.console import complain
        from arcface_paddle.pipeline.encoding import encode_pictures

        args = self._args
        for picture in encode_pictures(self._workers, pictures, faces=args.faces, max_pixels=args.max_pixels):
            said = picture.problem or (f"{picture.source}: {picture.note}" if picture.note else "")
            if said:
                complain(said)
            yield picture


def _write_one(args: argparse.Namespace, encoder: _Encoder, listing: Listing) -> int:
    from arcface_paddle.pipeline.embedding_files import write_embeddings
    from arcface_paddle.pipeline.encoding import make_table
    from arcface_paddle.progress import progress

    encoded = [picture for picture in encoder.encode(progress(listing.pictures, unit="picture")) if picture.faces]
    _say_rest(listing)
    if not encoded:
        raise ImageError(f"none of {len(listing.pictures)} pictures gave an embedding; {args.output} was not written")
    table = make_table(encoded, model=encoder.model)
    write_embeddings(args.output, table)
    size = table.embeddings.shape
    print(f"{args.output}: {size[0]} embeddings of {size[1]} values from {len(encoded)} pictures")
    return EXIT_PARTIAL if len(encoded) < len(listing.pictures) else EXIT_OK


def _write_shards(args: argparse.Namespace, encoder: _Encoder, listing: Listing) -> int:
    from arcface_paddle.pipeline.embedding_shards import ShardedEmbeddings
    from arcface_paddle.pipeline.encoding import make_table
    from arcface_paddle.progress import progress

    pictures = listing.pictures
    output = ShardedEmbeddings(args.output, shard_size=args.shard_size, facts=encoder.facts)
    if args.resume:
        output.resume(pictures)
    else:
        output.require_new()
    done = sum(shard.pictures for shard in output.shards)
    with progress(pictures[done:], total=len(pictures), initial=done, unit="picture") as shown:
        # One run over all shards: workers need not wait for each other at the end of each.
        looked_at = encoder.encode(shown)
        for part in output.missing(pictures):
            encoded = [picture for picture in itertools.islice(looked_at, len(part)) if picture.faces]
            table = make_table(encoded, model=encoder.model) if encoded else None
            output.add(part, table=table, encoded=len(encoded))
    _say_rest(listing)
    faces, encoded_pictures = (sum(getattr(s, name) for s in output.shards) for name in ("embeddings", "encoded"))
    if not faces:
        raise ImageError(f"none of {len(pictures)} pictures gave an embedding; {output.index_path} names no file")
    named = sum(1 for shard in output.shards if shard.file)
    earlier = f", {done} of them by an earlier run" if done else ""
    print(f"{output.index_path}: {faces} embeddings in {named} files from {encoded_pictures} pictures{earlier}")
    return EXIT_PARTIAL if encoded_pictures < len(pictures) else EXIT_OK


def _say_rest(listing: Listing) -> None:
    from arcface_paddle.cli.console import complain

    if listing.sentence():
        complain(listing.sentence())
