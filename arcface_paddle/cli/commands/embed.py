"""Embed very large picture sets, shard by shard, on this machine or on a Dask cluster.

    arcface-paddle embed shards/*.tar --output embeddings                       one after the other
    arcface-paddle embed shards/*.tar --output embeddings --processes 4         four at a time on this machine
    arcface-paddle embed shards/*.tar --output /shared/e --scheduler tcp://node-0:8786 --encode="--rec_model FaceFusion"

A shard is a folder or a tar archive of pictures; PERSON/PICTURE in it names the person. Each gives Parquet files and,
when it is finished, NAME.done.json. The same command again goes on with the shards that are not. --encode
takes flags of 'arcface-paddle encode'. The files become a gallery by 'arcface-paddle gallery import'.
exit codes: 0 all embedded, 1 some pictures or shards could not be (each is reported), 2 error
"""

from __future__ import annotations

import argparse
import os
import shlex

from arcface_paddle.cli import flags
from arcface_paddle.cli.main import EXIT_OK, EXIT_PARTIAL
from arcface_paddle.cli.writable import require_writable_folder


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``embed``."""
    parser.add_argument("shards", nargs="+", metavar="SHARD", help="folders and tar archives of pictures")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the Parquet files")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--processes",
        type=flags.positive,
        default=1,
        metavar="N",
        help="shards at a time on this machine (%(default)s)",
    )
    where.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="run on the workers of this Dask scheduler, tcp://HOST:8786; they see the shards and --output under the "
        "same paths and have the same arcface-paddle",
    )
    parser.add_argument(
        "--encode", default="", metavar='"FLAGS"', help='flags of encode, as in --encode="--faces all --mirrored=false"'
    )


def run(args: argparse.Namespace) -> int:
    """Embed what is not finished."""
    from arcface_paddle.cli.console import complain
    from arcface_paddle.pipeline.dask_cluster import workers
    from arcface_paddle.pipeline.picture_shards import embed_shard, finished, jobs_of
    from arcface_paddle.progress import progress

    options = shlex.split(args.encode)
    require_writable_folder(args.output, option="--output")
    if args.processes > 1:
        options = [*_share_of_cores(options, processes=args.processes), *options]
    jobs = jobs_of(args.shards, args.output, options=options)
    done = [report for report in map(finished, jobs) if report is not None]
    open_jobs = [job for job in jobs if job.name not in {report.name for report in done}]
    reports = list(done)
    with workers(scheduler=args.scheduler, count=min(args.processes, max(1, len(open_jobs)))) as run_all:
        for report in progress(run_all(embed_shard, open_jobs), total=len(open_jobs), unit="shard"):
            reports.append(report)
            if report.problem:
                complain(f"shard {report.name}: {report.problem}")
    failed = [report for report in reports if report.problem]
    pictures, encoded, faces = (sum(getattr(r, key) for r in reports) for key in ("pictures", "encoded", "embeddings"))
    earlier = f", {len(done)} of them by an earlier run" if done else ""
    print(f"{args.output}: {faces} embeddings of {encoded} pictures in {len(reports) - len(failed)} shards{earlier}")
    return EXIT_PARTIAL if failed or encoded < pictures else EXIT_OK


def _share_of_cores(options: list[str], *, processes: int) -> list[str]:
    """Return how many threads each process takes, where the user has not said so."""
    if any(option.partition("=")[0] in ("--threads", "--cpu_threads", "--workers") for option in options):
        return []
    return ["--workers=1", f"--threads={max(1, (os.cpu_count() or 1) // processes)}"]
