"""Find, align and name the faces of pictures, folders of pictures, a video file, a camera or a network stream.

test_recognition --build_index=index.bin --img_dir=gallery --label=gallery/label.txt
test_recognition --det --rec --index=index.bin --input=friends2.jpg --output=./output
test_recognition --det --input=folder --output=./output          boxes only
test_recognition --rec --index=index.bin --input=crop.png        a picture is one face: aligned crop or portrait
test_recognition --det --rec --index=index.bin --input a b.jpg --exclude "*_small.*" --no_draw --csv=found.csv
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence

from arcface_paddle import files
from arcface_paddle.cli import flags, gallery_flags, track_flags, video_flags, window, writable
from arcface_paddle.cli.main import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline.settings import OutputSettings, SessionSettings

if TYPE_CHECKING:  # what decodes and recognises is imported where it is used, so that --help is quick
    import numpy as np

    from arcface_paddle.pipeline.inputs import Listing
    from arcface_paddle.pipeline.recognition_session import RecognitionSession
    from arcface_paddle.pipeline.results import RunRecord
    from arcface_paddle.signals import HeldSignals
    from arcface_paddle.video.session import VideoSession
    from arcface_paddle.video.timeline import TimelineEntry
    from arcface_paddle.video.track_outputs import EventOutputs
    from arcface_paddle.video.tracking import FaceTracks

_TEXTS = ("json", "csv", "timeline", "attendance", "events", "track_sheet")
"""Options of results that are text."""
_MANY_FRAMES = 1000  # a video has enough for all workers

EPILOG = """exit codes:
  0    everything was read and processed (a picture without a face is no error)
  1    processed, but some inputs were bad: unreadable pictures of a folder, a video that ends early, annotated copies
       that could not be written, gallery pictures without a face or with several, bad lines of the label file; each
       is reported on stderr and in --json
  2    wrong options, or an error before or during the work: nothing half-written is left; where only the annotated
       video could not be written, --json and --csv are complete
  130  interrupted by Ctrl-C, SIGTERM or SIGHUP; what was found so far is kept, --json and --csv and the video are
       complete files
A folder is searched for pictures, whatever they are called, with the folders inside; files that are none are counted
on stderr and in --json, and change no exit code.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``test_recognition``."""
    parser.epilog = EPILOG
    parser.add_argument("--det", action="store_true", help="detect faces")
    parser.add_argument(
        "--rec", action="store_true", help="recognise faces; alone, a picture is one face: aligned crop or portrait"
    )
    parser.add_argument(
        "--input",
        nargs="+",
        action="extend",
        metavar="PATH",
        help="pictures and folders of pictures; or one video file, number of a camera or rtsp:// address",
    )
    video_flags.add_video_options(parser)
    aliases = flags.published_group(parser)
    aliases.add_argument("--video", "--cam", dest="input", action="append", metavar="FILE | NUMBER",
                         default=argparse.SUPPRESS, help="= --input, of a video or camera")  # fmt: skip
    flags.add_bool(aliases, "--write_video", default=None, help="false: --no_draw; videos are written anyway")
    parser.add_argument("--output", default="./output/", help="folder for annotated pictures or video (%(default)s)")
    flags.add_search_options(parser)
    flags.add_workers_option(parser)
    flags.add_model_options(parser)
    matching = parser.add_argument_group("names")
    matching.add_argument(
        "--index", help="gallery file, ours or a published index.bin; or faiss:FOLDER, milvus://..., postgresql://..."
    )
    matching.add_argument("--cdd_num", type=int, default=5, help="candidates listed per face in --json (%(default)s)")
    flags.add_threshold_options(matching)
    flags.add_distance_options(matching, aliases=flags.published_group(parser))
    flags.add_search_option(matching)
    track_flags.add_track_options(parser)
    building = parser.add_argument_group("building a gallery")
    building.add_argument("--build_index", metavar="FILE", help="build a gallery and write it to FILE")
    gallery_flags.add_picture_options(parser, group=building)
    gallery_flags.add_decision_option(building)
    results = parser.add_argument_group("results")
    results.add_argument("--json", metavar="FILE", help="write everything found as JSON")
    results.add_argument("--csv", metavar="FILE", help="write one line per face")
    results.add_argument("--font", metavar="FILE", help="font for the labels (default: one with Chinese characters)")
    results.add_argument(
        "--font_size", type=int, metavar="PX", help="size of the labels (default: as face and picture)"
    )
    results.add_argument("--unknown_face", metavar="TEXT", help="what strangers are called (unknown)")
    results.add_argument("--save_crops", metavar="DIR", help="save the faces of pictures as DIR/name/picture_1.png")
    results.add_argument(
        "--show",
        action="store_true",
        help="show every picture in a window until a key is pressed, or the video; q or Esc ends",
    )
    results.add_argument(
        "--no_draw", action="store_true", help="write no annotated pictures or video; --output is not needed then"
    )


def run(args: argparse.Namespace) -> int:
    """Build a gallery, recognise the input, or both."""
    from arcface_paddle.cli.console import complain, write_json_result
    from arcface_paddle.pipeline.recognition_session import RecognitionSession

    listing = check_arguments(args)
    status, built = EXIT_OK, {}
    if args.build_index is not None:
        report = gallery_flags.build(args, target=args.build_index)
        print(f"{gallery_flags.shown(args.build_index)}: {report['faces']} faces of {report['people']} people")
        status = EXIT_PARTIAL if report["rejected"] else EXIT_OK
        built = {"gallery_build": report}
    if args.input is None:
        if args.json:
            write_json_result(args.json, built)
        return status
    index = args.index or args.build_index
    settings = session_settings(args, index=index)
    pictures = _MANY_FRAMES if listing is None else len(listing.pictures)
    workers, pipeline = flags.worker_settings(args, settings.pipeline, pictures=pictures)
    settings = dataclasses.replace(settings, pipeline=pipeline, workers=workers)
    session = RecognitionSession.open(settings)
    if session.caution:
        complain(f"{gallery_flags.shown(index)}: {session.caution}")
    facts = {**built, **session.facts}
    if listing is None:
        return max(status, _run_video(args, session, facts))
    return max(status, _run_pictures(args, session, facts, listing=listing))


def check_arguments(args: argparse.Namespace) -> Optional[Listing]:
    """Refuse what cannot work, before anything is loaded or written.

    Returns:
        The pictures that ``--input`` names; None for a video, or when there is no ``--input``.

    Raises:
        ConfigError: options that contradict each other, are missing, or places that cannot be written.
        ImageError: no such input, or folders without pictures.
    """
    from arcface_paddle.pipeline import drawing

    if args.build_index is None and args.input is None:
        raise ConfigError("nothing to do: give --input with --det and/or --rec, or --build_index with --img_dir")
    if args.build_index is not None:
        gallery_flags.check_arguments(args, target=args.build_index, option="--build_index")
    if args.input is None:
        if args.show:
            raise ConfigError("--show needs --input with --det and/or --rec")
        video_flags.refuse_for_pictures(args, None)
        return None
    if not args.det and not args.rec:
        raise ConfigError("--input needs --det (find faces), --rec (name faces) or both")
    if args.rec and args.index is None and args.build_index is None:
        raise ConfigError("--rec needs --index FILE; make one with --build_index FILE --img_dir FOLDER")
    if args.write_video and args.no_draw:
        raise ConfigError("--write_video contradicts --no_draw; give one")
    if args.cdd_num < 1:
        raise ConfigError(f"--cdd_num is {args.cdd_num}; allowed: 1 or more")
    output_settings(args)  # refuses what cannot be drawn
    is_video = _is_video(args)
    track_flags.check_arguments(args, is_video=is_video)
    if is_video:
        listing = None
        video_flags.video_settings(args)  # refuses what contradicts itself
    else:
        video_flags.refuse_for_pictures(args, args.input)
        listing = list_pictures(args, args.input)
    if not _draws_nothing(args):
        writable.require_writable_folder(args.output, option="--output")
        drawing.load_font(str(args.font or drawing.FONT_PATH), 12)
    writable.require_writable_folder(args.save_crops, option="--save_crops")
    writable.require_writable_texts({f"--{name}": getattr(args, name) for name in _TEXTS})
    if args.show:
        window.require_display()
    return listing


def session_settings(args: argparse.Namespace, *, index: Optional[str]) -> SessionSettings:
    """Return the settings that the flags make; ``index`` names the faces where ``--rec`` asks for names."""
    return SessionSettings(
        pipeline=flags.pipeline_settings(args),
        detect=args.det,
        index=index if args.rec else None,
        decision=args.decision,
        max_pixels=args.max_pixels,
        outputs=output_settings(args),
    )


def output_settings(args: argparse.Namespace) -> OutputSettings:
    """Return what the flags want to be made beside the results."""
    return OutputSettings(
        None if _draws_nothing(args) else args.output,
        args.save_crops,
        args.font,
        font_size=args.font_size,
        unknown=args.unknown_face,
        distance=flags.distance_metric(args) if args.show_distance else None,
    )


def _draws_nothing(args: argparse.Namespace) -> bool:
    return bool(args.no_draw) or args.write_video is False


def list_pictures(args: argparse.Namespace, sources: Sequence[str]) -> Listing:
    """List the pictures of files and folders, those of this run's own outputs left out.

    Raises:
        ImageError: a source does not exist, or there is no picture at all.
    """
    from arcface_paddle.pipeline.inputs import find_pictures

    listing = find_pictures(
        sources, recursive=not args.no_recursive, exclude=args.exclude, leave_out=output_settings(args).folders
    )
    listing.require_pictures()
    return listing


def _is_video(args: argparse.Namespace) -> bool:
    videos = [source for source in args.input if video_flags.is_video(args, source)]
    if videos and len(args.input) > 1:
        raise ConfigError(f"--input {videos[0]} is a video, camera or stream, which needs a run of its own")
    if videos and args.save_crops:
        raise ConfigError("--save_crops is for pictures; the input is a video")
    return bool(videos)


def _run_pictures(
    args: argparse.Namespace, session: RecognitionSession, facts: dict[str, Any], *, listing: Listing
) -> int:
    """Recognise pictures, write the results, and return the exit code."""
    from arcface_paddle.cli.console import complain
    from arcface_paddle.cli.tables import text_table
    from arcface_paddle.images import read_image
    from arcface_paddle.pipeline.results import PICTURE_COLUMNS, RunRecord, picture_rows
    from arcface_paddle.progress import progress
    from arcface_paddle.signals import HeldSignals

    record, stopped = RunRecord(style=session.label_style), _Stopped()
    screen, pictures = window.Window(), progress(listing.pictures, unit="picture", shown=not listing.is_one_file)
    with stopped, contextlib.closing(screen), HeldSignals() as writing:
        findings = session.pictures(pictures, before_writing=writing.begin)
        for found, finding in zip(listing.pictures, findings):
            if finding.result is None and listing.is_one_file:
                raise ImageError(finding.problems[0])
            _say(finding.problems, f"{finding.source}: {finding.note}" if finding.note else "")
            record.add(finding)
            writing.end()
            if args.show and finding.result is not None:
                screen.picture(session.draw(read_image(found.path, max_pixels=args.max_pixels), finding.result))
                if screen.ended:
                    break
    content = {**facts, "images": record.found, "failed": record.failed, "not_looked_at": listing.to_dict()}
    _write_results(args, record, content, table=text_table(PICTURE_COLUMNS, picture_rows(record.found)))
    if record.unreadable:
        complain(f"{record.unreadable} of {len(listing.pictures)} pictures could not be processed")
    if screen.ended:
        complain(f"ended at the window after {len(record.found)} of {len(listing.pictures)} pictures")
    if listing.sentence():
        complain(listing.sentence())
    return stopped.exit_code(record)


def _run_video(args: argparse.Namespace, session: RecognitionSession, facts: dict[str, Any]) -> int:
    """Recognise frame after frame, write the results, and return the exit code."""
    from arcface_paddle.pipeline.results import RunRecord
    from arcface_paddle.signals import HeldSignals
    from arcface_paddle.video.track_outputs import EventOutputs

    (source,) = args.input
    record = RunRecord(keep_frames=bool(args.json or args.csv), style=session.label_style)
    stopped = _Stopped()
    tracks, outputs = _face_tracks(args, session), track_flags.track_outputs(args)
    events = EventOutputs(outputs, source=files.printable(source), unknown=session.label_style.unknown)
    with HeldSignals() as ending:
        with contextlib.ExitStack() as telling:
            begin = functools.partial(telling.enter_context, events)
            video = _take_video(args, session, tracks, record=record, begin=begin, stopped=stopped, ending=ending)
            timeline = [] if tracks is None else tracks.finish()
        for problem in [*video.problems, *events.problems]:
            record.add_failure(files.printable(source), problem)
        _say([*video.problems, *events.problems])
        if tracks is not None:
            record.rename_tracks(tracks.final_faces())
        facts = {**facts, "fps": round(video.fps, 3)}
        _write_video_results(args, record, facts, timeline=timeline)
        return max(stopped.exit_code(record), EXIT_ERROR if video.undrawn else EXIT_OK)


def _take_video(
    args: argparse.Namespace,
    session: RecognitionSession,
    tracks: Optional[FaceTracks],
    *,
    record: RunRecord,
    begin: Callable[[], EventOutputs],
    stopped: _Stopped,
    ending: HeldSignals,
) -> VideoSession:
    """Take the frames until they end or somebody stops; from then on signals wait. Returns the closed video."""
    from arcface_paddle.progress import progress
    from arcface_paddle.video.analysis import EachFrameAlone
    from arcface_paddle.video.session import VideoSession

    screen = window.Window()
    with contextlib.ExitStack() as opened:
        video = VideoSession(
            session,
            args.input[0],
            settings=video_flags.video_settings(args),
            analyzer=EachFrameAlone() if tracks is None else tracks,
            watch=_watchers(args, screen, opened),
            delay_s=_delay(args, tracks is not None),
        )
        opened.enter_context(video)
        events = begin()  # now that there is a video: a slip in its name leaves the events of an earlier run alone
        opened.enter_context(contextlib.closing(screen))
        if tracks is not None:
            tracks.listeners.append(events.tell)
        with stopped:
            for finding in progress(video, total=video.frame_count, unit="frame"):
                _say(finding.problems)
                record.add(finding)
                if screen.ended:
                    break
            ending.begin()
        ending.begin()  # where it was a signal that ended the frames
        for finding in video.rest():
            record.add(finding)
    return video


def _face_tracks(args: argparse.Namespace, session: RecognitionSession) -> Optional[FaceTracks]:
    from arcface_paddle.video.tracking import FaceTracks

    settings = track_flags.track_settings(args)
    if settings is None:
        return None
    return FaceTracks(session.pipeline.analyzer, settings, keep_crops=track_flags.track_outputs(args).needs_crops)


def _watchers(
    args: argparse.Namespace, screen: window.Window, opened: contextlib.ExitStack
) -> Optional[Callable[[np.ndarray], None]]:
    """Open what shows the annotated frames, to be closed by ``opened``; None when nobody watches."""
    from arcface_paddle.cli.console import complain
    from arcface_paddle.video.preview import Preview

    shown = [screen.frame] if args.show else []
    if args.preview is not None:
        preview = opened.enter_context(Preview(args.preview))
        complain(f"preview at {preview.address}")
        shown.append(preview.frame)
    if not shown:
        return None

    def watch(image: np.ndarray) -> None:
        for show in shown:
            show(image)

    return watch


def _delay(args: argparse.Namespace, is_tracked: bool) -> float:
    """Return by how many seconds drawing lags."""
    from arcface_paddle.pipeline.video_names import is_camera, is_stream

    if args.delay is not None:
        return float(args.delay)
    is_live = is_camera(args.input[0]) or is_stream(args.input[0])
    return track_flags.DELAY_S if is_tracked and not is_live else 0.0


def _write_video_results(
    args: argparse.Namespace, record: RunRecord, facts: dict[str, Any], *, timeline: list[TimelineEntry]
) -> None:
    """Write what was found in a video; a file that cannot be written does not keep the others from being."""
    from arcface_paddle.cli.tables import text_table
    from arcface_paddle.pipeline.results import VIDEO_COLUMNS
    from arcface_paddle.types import UNKNOWN
    from arcface_paddle.video.track_outputs import named_crops, track_facts, writings

    (source,) = args.input
    outputs, unknown = track_flags.track_outputs(args), args.unknown_face or UNKNOWN
    entries = named_crops(timeline) if outputs.crops is not None else timeline
    people = {} if args.no_tracks else track_facts(entries, unknown=unknown)
    content = {**facts, "frames": record.found, **people, "failed": record.failed}
    with contextlib.ExitStack() as rest:  # runs all, last one first, and raises in the end
        for writing in writings(outputs, entries, source=files.printable(source), unknown=unknown):
            rest.callback(writing.run)
        rest.callback(
            lambda: _write_results(args, record, content, table=text_table(VIDEO_COLUMNS, record.summary.rows()))
        )


class _Stopped:
    """A context that Ctrl-C leaves without an error, so that what was found can be written first."""

    def __init__(self) -> None:
        self._interrupted = False

    def __enter__(self) -> _Stopped:
        return self

    def __exit__(self, kind: Optional[type[BaseException]], *_: object) -> bool:
        self._interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        return self._interrupted

    def exit_code(self, record: RunRecord) -> int:
        """Return the exit code of the run. Raises ``KeyboardInterrupt`` again when it was interrupted."""
        if self._interrupted:
            raise KeyboardInterrupt
        return EXIT_PARTIAL if record.failed else EXIT_OK


def _say(problems: Sequence[str], note: str = "") -> None:
    from arcface_paddle.cli.console import complain

    for sentence in (*problems, note):
        if sentence:
            complain(sentence)


def _write_results(args: argparse.Namespace, record: RunRecord, content: dict[str, Any], *, table: str) -> None:
    """Write and print what was found; a file that cannot be written does not keep the others from being.

    Raises:
        ConfigError: ``--json`` or ``--csv`` cannot be written.
    """
    from arcface_paddle.cli.console import write_json_result, write_text_result
    from arcface_paddle.pipeline.results import to_csv

    with contextlib.ExitStack() as rest:  # runs all, last one first, and raises in the end
        rest.callback(print, table)
        if args.csv:
            rest.callback(lambda: write_text_result(args.csv, to_csv(record.found), option="--csv"))
        if args.json:
            rest.callback(lambda: write_json_result(args.json, content))
