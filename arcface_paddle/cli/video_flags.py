"""The flags of what reads a video: which of its frames, by which engine, and where they are shown."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Optional, Sequence

from arcface_paddle.errors import ConfigError
from arcface_paddle.video.video_settings import ENGINES, USUAL_VIDEO, VideoSettings, seconds_of

_MOST_PORT = 65_535
_OF_VIDEO = ("every", "fps", "start", "end", "sequence", "video_engine", "stall", "reconnect", "frame_batch", "preview")
"""Flags, by their names in the namespace, that mean nothing where the input is pictures; None where not given."""


def add_video_options(parser: argparse.ArgumentParser) -> None:
    """Declare the flags; ``video_settings`` reads them."""
    group = parser.add_argument_group("video, camera, stream")
    group.add_argument("--every", type=int, metavar="N", help="look at one frame of N")
    group.add_argument("--fps", type=float, metavar="F", help="look at F frames a second at most")
    group.add_argument("--start", metavar="TIME", help="begin at this time: seconds, mm:ss or hh:mm:ss")
    group.add_argument("--end", metavar="TIME", help="end at this time")
    group.add_argument(
        "--sequence",
        type=float,
        metavar="FPS",
        help="the input is a folder of pictures, or a pattern as frames/%%06d.png, that are frames, FPS a second (25)",
    )
    group.add_argument(
        "--video_engine",
        choices=ENGINES,
        help="what reads and writes videos (auto: pyav where it is installed, else opencv); cameras: opencv",
    )
    group.add_argument(
        "--stall",
        type=float,
        metavar="SECONDS",
        help=f"open a stream again that sends nothing for so long ({USUAL_VIDEO.timeout_s:g})",
    )
    group.add_argument(
        "--reconnect",
        type=float,
        metavar="SECONDS",
        help=f"try so long to open a camera or stream again that is gone; 0: end ({USUAL_VIDEO.reconnect_s:g})",
    )
    group.add_argument(
        "--frame_batch",
        type=int,
        metavar="N",
        help="frames whose faces go through the recogniser together (1; more pays on a GPU)",
    )
    group.add_argument(
        "--preview", type=int, metavar="PORT", help="show the annotated frames at http://127.0.0.1:PORT; 0: a free port"
    )


def video_settings(args: argparse.Namespace) -> VideoSettings:
    """Return the settings that the flags make.

    Raises:
        ConfigError: a value that is not allowed, or flags that contradict each other.
    """
    given = {
        "engine": args.video_engine,
        "every": args.every,
        "fps": args.fps,
        "start_s": None if args.start is None else seconds_of(args.start),
        "end_s": None if args.end is None else seconds_of(args.end),
        "sequence_fps": args.sequence,
        "timeout_s": args.stall,
        "reconnect_s": args.reconnect,
        "frame_batch": args.frame_batch,
    }
    if args.preview is not None and not 0 <= args.preview <= _MOST_PORT:
        raise ConfigError(f"--preview is {args.preview}; allowed: a port from 0 (a free one) to {_MOST_PORT}")
    return VideoSettings(**{name: value for name, value in given.items() if value is not None})


def is_video(args: argparse.Namespace, source: str) -> bool:
    """Tell whether an input is a video, camera, stream, or by ``--sequence`` a folder of frames."""
    from arcface_paddle.pipeline import inputs

    return inputs.is_video(source) or (args.sequence is not None and Path(source).is_dir())


def refuse_for_pictures(args: argparse.Namespace, sources: Optional[Sequence[str]]) -> None:
    """Raise ``ConfigError`` for flags that would be ignored, as the input is no video."""
    for name in _OF_VIDEO:
        if getattr(args, name) is not None:
            what = f"the input {sources[0]} is pictures" if sources else "there is no --input"
            raise ConfigError(f"--{name} is for a video, camera or stream; {what}")
