"""Flags about the tracks of a video, and the settings that they make."""

from __future__ import annotations

import argparse
from typing import Optional

from arcface_paddle.cli import writable
from arcface_paddle.errors import ConfigError
from arcface_paddle.video.track_settings import TrackOutputs, TrackSettings

DELAY_S = 1.0
"""Seconds by which the annotated copy of a file lags: a name known a moment later stands there from the start."""

_MOST_DELAY_S = 10.0
_FLAGS = {
    "--no_tracks": "no_tracks", "--no_unique": "no_unique", "--track_memory": "track_memory", "--delay": "delay",
    "--search_interval": "search_interval",
    "--timeline": "timeline", "--attendance": "attendance", "--save_tracks": "save_tracks",
    "--track_sheet": "track_sheet", "--events": "events", "--webhook": "webhook",
}  # fmt: skip


def add_track_options(parser: argparse.ArgumentParser) -> None:
    """Declare what ``track_settings`` and ``track_outputs`` read."""
    tracks = parser.add_argument_group("people of a video")
    tracks.add_argument(
        "--timeline", metavar="FILE", help="write one entry per track: who, from when to when; .json or .csv"
    )
    tracks.add_argument("--attendance", metavar="FILE", help="write one entry per person; .json or .csv")
    tracks.add_argument(
        "--events", metavar="FILE", help="write who comes, is named and leaves as JSON lines, as it happens"
    )
    tracks.add_argument(
        "--webhook",
        metavar="URL",
        help="send these events to an address, signed with the secret in ARCFACE_PADDLE_WEBHOOK_SECRET",
    )
    tracks.add_argument("--save_tracks", metavar="DIR", help="save the best picture of every track")
    tracks.add_argument("--track_sheet", metavar="FILE", help="write the tracks as an HTML page")
    tracks.add_argument(
        "--no_tracks", action="store_true", help="recognise each frame by itself, as earlier versions did"
    )
    tracks.add_argument(
        "--no_unique",
        action="store_true",
        help="a person may be in a frame twice (mirrors, screens, pictures on walls)",
    )
    tracks.add_argument(
        "--track_memory",
        type=float,
        metavar="S",
        help=f"seconds for which a face that is out of sight keeps its track ({TrackSettings.keep_s:g})",
    )
    tracks.add_argument(
        "--search_interval",
        type=float,
        metavar="S",
        help=f"seconds of a file between two searches of a whole frame; in between known faces are followed; 0: search "
        f"every frame ({TrackSettings.search_s:g})",
    )
    tracks.add_argument(
        "--delay",
        type=float,
        metavar="S",
        help=f"seconds by which drawing lags, so that names are there from the start (files {DELAY_S:g}, cameras 0)",
    )


def check_arguments(args: argparse.Namespace, *, is_video: bool) -> None:
    """Refuse what cannot work, before anything is loaded or written. Raises ``ConfigError``."""
    given = [flag for flag, name in _FLAGS.items() if getattr(args, name) not in (None, False)]
    if given and not is_video:
        raise ConfigError(f"{given[0]} is about a video; the input is none")
    about_tracks = [flag for flag in given if flag != "--no_tracks"]
    if args.no_tracks and about_tracks:
        raise ConfigError(f"{about_tracks[0]} needs tracks; leave out --no_tracks")
    if args.delay is not None and not 0 <= args.delay <= _MOST_DELAY_S:
        raise ConfigError(f"--delay is {args.delay}; allowed: 0 to {_MOST_DELAY_S:g} seconds")
    track_settings(args)
    if args.webhook is not None:
        from arcface_paddle.video.webhook import checked_secret, checked_url

        checked_url(args.webhook)
        checked_secret()
    writable.require_writable_folder(args.save_tracks, option="--save_tracks")


def track_settings(args: argparse.Namespace) -> Optional[TrackSettings]:
    """Return how faces are tracked; None for not at all. Raises ``ConfigError`` for a value out of range."""
    if args.no_tracks:
        return None
    memory = TrackSettings.keep_s if args.track_memory is None else args.track_memory
    search_s = TrackSettings.search_s if args.search_interval is None else args.search_interval
    return TrackSettings(unique=not args.no_unique, keep_s=memory, search_s=search_s)


def track_outputs(args: argparse.Namespace) -> TrackOutputs:
    """Return what is to be written about tracks."""
    return TrackOutputs(
        timeline=args.timeline, attendance=args.attendance, crops=args.save_tracks, sheet=args.track_sheet,
        events=args.events, webhook=args.webhook,
    )  # fmt: skip
