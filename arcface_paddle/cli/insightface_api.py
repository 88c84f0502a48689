"""The Python interface of the published wheel, on top of this package's pipeline.

From the root of the repository:

    >>> from arcface_paddle import InsightFace, parser
    >>> args = parser().parse_args([])
    >>> args.build_index, args.img_dir, args.label = "index.bin", "demo/gallery", "demo/gallery/label.txt"
    >>> InsightFace(args).build_index()["people"]
    3

    >>> args.det = args.rec = True
    >>> args.index, args.output = "index.bin", "output"
    >>> for result in InsightFace(args).predict("demo/queries/obama_speech_2009.jpg"):
    ...     print(result["labels"], result["box_list"].shape, result["features"].shape)
    ['Barack Obama'] (1, 6) (1, 192)

New code is better off with ``build_detector``, ``build_recognizer``, ``Gallery`` and ``Analyzer``.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Union

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.cli import gallery_flags, video_flags
from arcface_paddle.cli.commands import recognize
from arcface_paddle.cli.notebook_parser import NotebookParser
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline.recognition_session import RecognitionSession
from arcface_paddle.pipeline.results import SourceRecord
from arcface_paddle.types import UNKNOWN, ImageResult
from arcface_paddle.video.analysis import EachFrameAlone
from arcface_paddle.video.session import VideoSession

ARRAY_NAME = "tmp.png"
"""Name of the annotated picture of an array in the output folder, as the published tool called it."""

_DETECTION_ONLY_LABEL = "face"

_logger = logging.getLogger("arcface_paddle")


def parser(add_help: bool = True) -> argparse.ArgumentParser:
    """Return the parser of ``test_recognition``; ``parser().parse_args([])`` gives all defaults.

    Without ``add_help`` it can be a parent of another parser.

    Arguments that cannot be understood raise ``ConfigError``. ``parse_args()`` gives the defaults in a notebook.
    """
    result = NotebookParser(
        prog="test_recognition",
        description=recognize.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=add_help,
    )
    recognize.configure(result)
    return result


class InsightFace:
    """Detection and recognition under the published interface.

    Args:
        args: what ``parser()`` parsed; attributes may be changed before they are passed in.
        print_info: log the settings in use.

    Models are loaded at the first prediction, so that building an index and predicting cost only what they need.
    """

    def __init__(self, args: argparse.Namespace, print_info: bool = True) -> None:
        self.args = args
        self._session: Optional[RecognitionSession] = None
        if print_info:
            _logger.info("settings: %s", vars(args))

    def build_index(self) -> dict[str, Any]:
        """Build the gallery ``args.build_index`` from ``args.img_dir`` and ``args.label``.

        Returns:
            How many faces of how many people there are now, and under ``rejected`` what was not taken and why.

        Raises:
            ConfigError: a setting is missing.
            GalleryError: no picture gave a face, or the file cannot be written.
        """
        if not self.args.build_index:
            raise ConfigError("args.build_index is not set; it names the file of the gallery to write")
        gallery_flags.check_arguments(self.args, target=self.args.build_index, option="args.build_index")
        return gallery_flags.build(self.args, target=self.args.build_index)

    def predict(self, input_data: Union[str, Path, np.ndarray], print_info: bool = False) -> Iterator[dict[str, Any]]:
        """Recognise a picture, a folder of pictures, a video, or an array; annotated results go to ``args.output``.

        Args:
            input_data: path; or (H, W, 3) uint8 **RGB**, as the published examples passed it
                (``cv2.imread(path)[:, :, ::-1]``).
            print_info: log the labels of every picture.

        Yields:
            For every picture that can be read, or every frame of a video:

            ``box_list``: (N, 6) float32, rows of class (0), detection score, left, top, right, bottom;
            ``features``: (N, D) float32, L2-normalised, or None without ``args.rec``;
            ``labels``: N names, ``unknown`` for strangers, ``face`` without ``args.rec``;
            ``similarities``: N signed cosines to the best person of the gallery, or None without ``args.rec``.

        Raises:
            ConfigError: neither ``args.det`` nor ``args.rec``, or ``args.rec`` without ``args.index``.
            ImageError: the input does not exist or cannot be read. A bad picture of a folder is logged and left out.
        """
        if not self.args.det and not self.args.rec:
            raise ConfigError("set args.det (find faces), args.rec (name faces) or both")
        if self.args.show:
            raise ConfigError("args.show is for the command line; the annotated pictures are in args.output")
        for name, finding in self._findings(input_data):
            if finding.result is None:
                _warn([f"{problem}; left out" for problem in finding.problems])
                continue
            _warn(finding.problems)
            if print_info:
                labels = [files.one_line(label) for label in self._labels(finding.result)]
                _logger.info("File: %s, predict label(s): %s", files.one_line(name), labels)
            yield self._as_published(finding.result)

    def _findings(self, input_data: Union[str, Path, np.ndarray]) -> Iterator[tuple[str, SourceRecord]]:
        """Give the name of every picture or frame as it is logged, and what was found in it."""
        session = self._open().with_outputs(recognize.output_settings(self.args))
        if isinstance(input_data, np.ndarray):
            yield ARRAY_NAME, session.array(images.from_array(input_data), source=ARRAY_NAME)
        elif video_flags.is_video(self.args, str(input_data)):
            settings = video_flags.video_settings(self.args)
            # Not tracks, which embed one face in five: ``features`` has a row for every face of every frame.
            with VideoSession(session, str(input_data), settings=settings, analyzer=EachFrameAlone()) as video:
                for finding in video:
                    yield Path(finding.source).name, finding
            _warn(video.problems)
        else:
            listing = recognize.list_pictures(self.args, [str(input_data)])
            for finding in session.pictures(listing.pictures):
                if finding.result is None and listing.is_one_file:
                    raise ImageError(finding.problems[0])
                yield Path(finding.source).name, finding
            _warn([listing.sentence()] if listing.sentence() else [])

    def _as_published(self, result: ImageResult) -> dict[str, Any]:
        faces, model = result.faces, self._open().model
        boxes = [[0.0, face.detection.score, *(float(value) for value in face.detection.box_xyxy)] for face in faces]
        published = {"box_list": np.array(boxes, np.float32).reshape(-1, 6), "labels": self._labels(result)}
        if model is None:
            return {**published, "features": None, "similarities": None}
        embeddings = np.array([face.embedding for face in faces], np.float32)
        similarities = np.array([face.similarity for face in faces], np.float32)
        return {
            **published,
            "features": embeddings.reshape(-1, model.embedding_size),
            "similarities": similarities,
        }

    def _labels(self, result: ImageResult) -> list[str]:
        called = {None: _DETECTION_ONLY_LABEL, UNKNOWN: self.args.unknown_face or UNKNOWN}
        return [called.get(face.name, str(face.name)) for face in result.faces]

    def _open(self) -> RecognitionSession:
        if self._session is None:
            if self.args.rec and not self.args.index:
                raise ConfigError("args.rec needs args.index; make a gallery with build_index() first")
            self._session = RecognitionSession.open(recognize.session_settings(self.args, index=self.args.index))
            if self._session.caution:
                _warn([f"{self.args.index}: {self._session.caution}"])
        return self._session


def _warn(problems: Sequence[str]) -> None:
    for problem in problems:
        _logger.warning("%s", files.one_line(problem))
