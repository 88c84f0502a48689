"""Find, align and name the faces of a picture, a folder of pictures, a video file, a camera or a network stream.

test_recognition --build_index=index.bin --img_dir=gallery --label=gallery/label.txt
test_recognition --det --rec --index=index.bin --input=friends2.jpg --output=./output
test_recognition --det --input=folder --output=./output          boxes only
test_recognition --rec --index=index.bin --input=crop.png        a picture is one face: aligned crop or portrait
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Optional

import numpy as np
from tqdm import tqdm

from arcface_paddle import files, images
from arcface_paddle.cli import flags, gallery_flags, writable
from arcface_paddle.cli.console import complain, text_table, write_json_result, write_text_result
from arcface_paddle.cli.main import EXIT_ERROR, EXIT_OK, EXIT_PARTIAL
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline import drawing, inputs
from arcface_paddle.pipeline.gallery import Gallery
from arcface_paddle.pipeline.gallery.enrolment import ImageAnalyzer
from arcface_paddle.pipeline.opening import DETECT, PORTRAIT, OpenPipeline, open_detection, open_pipeline
from arcface_paddle.pipeline.output_names import OutputNames
from arcface_paddle.pipeline.results import (
    PICTURE_COLUMNS,
    VIDEO_COLUMNS,
    VideoSummary,
    picture_rows,
    result_to_json,
    to_csv,
)
from arcface_paddle.pipeline.video import VideoReader, VideoWriter
from arcface_paddle.types import Face, ImageResult

EPILOG = """exit codes:
  0    everything was read and processed (a picture without a face is no error)
  1    processed, but some inputs were bad: unreadable pictures of a folder, a video that ends early, gallery pictures
       without a face or with several, bad lines of the label file; each is reported on stderr and in --json
  2    wrong options, or an error before or during the work: nothing half-written is left; where only the annotated
       video could not be written, --json and --csv are complete
  130  interrupted by Ctrl-C; what was found so far is kept, --json and --csv and the video are complete files
"""

_CROP_MARGIN = 0.25  # of the box, on each side: enough for the face to be found again in the crop


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of ``test_recognition``."""
    parser.epilog = EPILOG
    parser.add_argument("--det", action="store_true", help="detect faces")
    parser.add_argument(
        "--rec", action="store_true", help="recognise faces; alone, a picture is one face: aligned crop or portrait"
    )
    parser.add_argument("--input", help="picture, folder of pictures, video file, number of a camera, rtsp:// address")
    parser.add_argument("--output", default="./output/", help="folder for annotated pictures or video (%(default)s)")
    flags.add_model_options(parser)
    matching = parser.add_argument_group("names")
    matching.add_argument("--index", help="gallery file, ours or a published index.bin")
    matching.add_argument("--cdd_num", type=int, default=5, help="candidates listed per face in --json (%(default)s)")
    flags.add_threshold_options(matching)
    building = parser.add_argument_group("building a gallery")
    building.add_argument("--build_index", metavar="FILE", help="build a gallery and write it to FILE")
    gallery_flags.add_picture_options(parser, group=building)
    gallery_flags.add_decision_option(building)
    results = parser.add_argument_group("results")
    results.add_argument("--json", metavar="FILE", help="write everything found as JSON")
    results.add_argument("--csv", metavar="FILE", help="write one line per face")
    results.add_argument("--font", metavar="FILE", help="font for the labels (default: one with Chinese characters)")
    results.add_argument("--save_crops", metavar="DIR", help="save the faces of pictures as DIR/name/picture_1.png")
    results.add_argument("--no_draw", action="store_true", help="write no annotated pictures or video")


def run(args: argparse.Namespace) -> int:
    """Build a gallery, recognise the input, or both."""
    check_arguments(args)
    status, built = EXIT_OK, {}
    if args.build_index is not None:
        report = gallery_flags.build(args, target=args.build_index)
        print(f"{args.build_index}: {report['faces']} faces of {report['people']} people")
        status = EXIT_PARTIAL if report["rejected"] else EXIT_OK
        built = {"gallery_build": report}
    if args.input is None:
        if args.json:
            write_json_result(args.json, built)
        return status
    session = Session.open(args, facts=built)
    recognised = session.run_video() if inputs.is_video(args.input) else session.run_pictures()
    return max(status, recognised)


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse what cannot work, before anything is loaded or written.

    Raises:
        ConfigError: options that contradict each other, are missing, or places that cannot be written.
        ImageError: no such input, or a folder without pictures.
    """
    if args.build_index is None and args.input is None:
        raise ConfigError("nothing to do: give --input with --det and/or --rec, or --build_index with --img_dir")
    if args.build_index is not None:
        gallery_flags.check_arguments(args, target=args.build_index, option="--build_index")
    if args.input is None:
        return
    if not args.det and not args.rec:
        raise ConfigError("--input needs --det (find faces), --rec (name faces) or both")
    if args.rec and args.index is None and args.build_index is None:
        raise ConfigError("--rec needs --index FILE; make one with --build_index FILE --img_dir FOLDER")
    if args.cdd_num < 1:
        raise ConfigError(f"--cdd_num is {args.cdd_num}; allowed: 1 or more")
    if inputs.is_video(args.input):
        if args.save_crops:
            raise ConfigError("--save_crops is for pictures; the input is a video")
    else:
        inputs.list_pictures(args.input)
    if not args.no_draw:
        writable.require_writable_folder(args.output, option="--output")
        drawing.load_font(str(args.font or drawing.FONT_PATH), 12)
    writable.require_writable_folder(args.save_crops, option="--save_crops")
    writable.require_writable_file(args.json, option="--json")
    writable.require_writable_file(args.csv, option="--csv")


def open_for(args: argparse.Namespace, *, index: Optional[str]) -> OpenPipeline:
    """Load what ``--det`` and ``--rec`` ask for; with ``--rec``, the gallery ``index`` names the faces."""
    settings = flags.pipeline_settings(args)
    if not args.rec:
        return open_detection(settings)
    assert index is not None, "check_arguments has asked for it"
    gallery = Gallery.load(index)
    if args.decision is not None:
        gallery = gallery.with_decision(args.decision)
    return open_pipeline(settings, contents=DETECT if args.det else PORTRAIT, gallery=gallery)


class Session:
    """One run over an input: the analyzer, where results go, and what has been found and failed so far."""

    def __init__(self, args: argparse.Namespace, analyzer: ImageAnalyzer, facts: dict[str, Any]) -> None:
        self.args = args
        self.analyzer = analyzer
        self.facts = facts
        self.names = OutputNames(args.output)
        self.summary = VideoSummary()
        self.found: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []

    @classmethod
    def open(cls, args: argparse.Namespace, *, facts: dict[str, Any]) -> Session:
        """Load the gallery and the models; ``facts`` go into the JSON result before what is found."""
        index = args.index or args.build_index
        pipeline = open_for(args, index=index)
        if pipeline.caution:
            complain(f"{index}: {pipeline.caution}")
        named = {"index": index} if args.rec else {}
        return cls(args, pipeline.analyzer, {**facts, **pipeline.facts, **named})

    def run_pictures(self) -> int:
        """Recognise a picture or the pictures of a folder, write the results, and return the exit code."""
        found = inputs.list_pictures(self.args.input)
        interrupted = False
        try:
            for path in tqdm(found.paths, unit="picture", disable=None if found.from_folder else True):
                self._try_picture(path, alone=not found.from_folder)
        except KeyboardInterrupt:
            interrupted = True
        self._write_results("images")
        print(text_table(PICTURE_COLUMNS, picture_rows(self.found)))
        if self.failed:
            complain(f"{len(self.failed)} of {len(found.paths)} pictures could not be processed")
        return self._exit_code(interrupted)

    def run_video(self) -> int:
        """Recognise frame after frame, write the annotated video and the results, and return the exit code.

        A video that cannot be written does not cost the results.
        """
        interrupted = unwritten = False
        with VideoReader(self.args.input) as reader:
            try:
                self._run_frames(reader)
            except KeyboardInterrupt:
                interrupted = True
            except ImageError as error:
                unwritten = True
                self._fail(files.printable(self.args.input), str(error))
            if reader.frames_read == 0:
                raise ImageError(f"{self.args.input}: no frame could be read")
            if reader.ended_early and not interrupted and not unwritten:
                self._fail(
                    files.printable(self.args.input),
                    f"the video ended after {reader.frames_read} of {reader.frame_count} frames; the file is damaged",
                )
            self.facts["fps"] = round(reader.fps, 3)
        self._write_results("frames")
        print(text_table(VIDEO_COLUMNS, self.summary.rows()))
        return EXIT_ERROR if unwritten else self._exit_code(interrupted)

    def _exit_code(self, interrupted: bool) -> int:
        if interrupted:
            raise KeyboardInterrupt
        return EXIT_PARTIAL if self.failed else EXIT_OK

    def _try_picture(self, path: Path, *, alone: bool) -> None:
        """Process one picture; that of a folder may fail, that of ``--input`` alone is an error of the command."""
        try:
            self._run_picture(path)
        except ImageError as error:
            if alone:
                raise
            self._fail(files.printable(path), str(error))

    def _run_picture(self, path: Path) -> None:
        image = images.read_image(path)
        result = self.analyzer.analyze(image, source=files.printable(path))
        if not self.args.no_draw:
            annotated = drawing.draw_faces(image, result.faces, font_path=self.args.font)
            images.write_image(self.names.for_picture(path), annotated)
        if self.args.save_crops:
            save_crops(self.args.save_crops, image, result, stem=path.stem)
        self.found.append(result_to_json(result))

    def _run_frames(self, reader: VideoReader) -> None:
        progress = tqdm(reader, total=reader.frame_count, unit="frame", disable=None)
        if self.args.no_draw:
            for frame in progress:
                self._analyze_frame(frame.image, frame.index, frame.time_s)
            return
        with VideoWriter(self.names.for_video(self.args.input), fps=reader.fps) as writer:
            for frame in progress:
                result = self._analyze_frame(frame.image, frame.index, frame.time_s)
                writer.write(drawing.draw_faces(frame.image, result.faces, font_path=self.args.font))

    def _analyze_frame(self, image: np.ndarray, index: int, time_s: float) -> ImageResult:
        result = self.analyzer.analyze(image, source=f"{files.printable(self.args.input)}#{index}")
        content = result_to_json(result, time_s=time_s)
        self.summary.add(content)
        if self.args.json or self.args.csv:  # a camera that runs for days must not fill the memory
            self.found.append(content)
        return result

    def _fail(self, source: str, reason: str) -> None:
        self.failed.append({"source": source, "error": reason})
        complain(reason)

    def _write_results(self, kind: str) -> None:
        if self.args.json:
            content = {**self.facts, kind: self.found, "failed": self.failed}
            write_json_result(self.args.json, content)
        if self.args.csv:
            write_text_result(self.args.csv, to_csv(self.found), option="--csv")


def save_crops(folder: str, image: np.ndarray, result: ImageResult, *, stem: str) -> None:
    """Save every face with a margin as ``folder/name/stem_number.png``: a tree that can become a gallery."""
    for number, face in enumerate(result.faces, start=1):
        crop = crop_with_margin(image, face)
        if crop.size:
            images.write_image(Path(folder) / folder_name(face.name) / f"{stem}_{number}.png", crop)


def crop_with_margin(image: np.ndarray, face: Face) -> np.ndarray:
    """Cut the face out of (H, W, 3) with a margin, clipped to the picture."""
    left, top, right, bottom = (float(value) for value in face.detection.box_xyxy)
    dx, dy = _CROP_MARGIN * (right - left), _CROP_MARGIN * (bottom - top)
    rows = slice(max(0, round(top - dy)), max(0, round(bottom + dy)))
    columns = slice(max(0, round(left - dx)), max(0, round(right + dx)))
    return image[rows, columns]


def folder_name(name: Optional[str]) -> str:
    """Return a person's name as the name of a folder on any system; ``face`` when no names were asked for."""
    safe = "".join("_" if c in '<>:"/\\|?*' or ord(c) < 32 else c for c in name or "face").rstrip(". ")
    return safe[:100] or "_"
