"""One run over pictures, from settings to findings: what the commands and the published API share.

From the root of the repository, after ``arcface-paddle gallery build people.index --img_dir demo/gallery``:

    session = RecognitionSession.open(SessionSettings(index="people.index"))
    for finding in session.pictures(find_pictures(["holiday"]).pictures):
        print(finding.source, finding.problems or [face.name for face in finding.result.faces])

A finding is given for every picture; ``video.session`` does so for every frame. What went wrong with one is part of it,
so that a picture that cannot be read does not end the run, and a full disk under the annotated copies does not lose the
names.

With several workers a few pictures are looked at ahead. What is made of them is written when their finding is taken, so
that a run which is left early has written no more than it has told, under the same names as with one worker.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Optional, Sequence, Union

import numpy as np

from arcface_paddle import files, images
from arcface_paddle.errors import ConfigError, ImageError
from arcface_paddle.pipeline import drawing
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.cards import PLAIN_COSINE
from arcface_paddle.pipeline.distances import distance_of
from arcface_paddle.pipeline.gallery import Gallery, ModelIdentity
from arcface_paddle.pipeline.gallery.stores import open_searched, shown_uri
from arcface_paddle.pipeline.inputs import FoundPicture
from arcface_paddle.pipeline.opening import OpenPipeline, open_detection, open_pipeline
from arcface_paddle.pipeline.outputs import CropFolder, EncodedCrop, OutputNames, drawn_suffix, encode_crops
from arcface_paddle.pipeline.picture_workers import PictureWorkers
from arcface_paddle.pipeline.results import SourceRecord
from arcface_paddle.pipeline.settings import DETECT, PORTRAIT, OutputSettings, SessionSettings
from arcface_paddle.types import UNKNOWN, ImageResult


@dataclass(frozen=True, eq=False)
class _Looked:
    """What a worker has made of a picture; nothing is written yet.

    Attributes:
        found: the file.
        record: the finding so far.
        drawn: the annotated copy, encoded, or why it cannot be; None when none is wanted.
        crops: the faces, encoded.
    """

    found: FoundPicture
    record: SourceRecord
    drawn: Union[bytes, ImageError, None] = None
    crops: Sequence[EncodedCrop] = ()


class RecognitionSession:
    """Loaded models, the colours of the gallery's people, and where annotated copies go.

    Attributes:
        pipeline: the loaded models, and what is to be said about them.
        workers: look at several pictures or frames at once, the first with the models of ``pipeline``.
        facts: models, thresholds and gallery in use, as JSON values.
    """

    def __init__(
        self,
        pipeline: OpenPipeline,
        *,
        outputs: Optional[OutputSettings] = None,
        facts: Optional[dict[str, Any]] = None,
        colors: Optional[dict[str, drawing.Color]] = None,
        max_pixels: Optional[int] = None,
        workers: Optional[PictureWorkers[Analyzer]] = None,
    ) -> None:
        """Take loaded models; ``open`` loads them.

        Args:
            pipeline: finds faces, and names them if it has a gallery.
            outputs: what is made beside the results; None for nothing.
            facts: what is in use; None for what the pipeline says.
            colors: ``drawing.assign_colors`` of the gallery's names; None to tell apart those in one picture only.
            max_pixels: refuse larger pictures; None for ``images.MAX_PIXELS``.
            workers: look at several pictures at once, with the models of ``pipeline``; None for one after the other.
        """
        self.pipeline = pipeline
        self.workers = PictureWorkers(pipeline.analyzer) if workers is None else workers
        self.facts = dict(pipeline.facts if facts is None else facts)
        self._outputs = OutputSettings() if outputs is None else outputs
        self._colors = colors
        self._max_pixels = max_pixels
        self._names = None if self._outputs.drawn is None else OutputNames(self._outputs.drawn)
        self._crops = None if self._outputs.crops is None else CropFolder(self._outputs.crops)

    @classmethod
    def open(cls, settings: SessionSettings) -> RecognitionSession:
        """Load the gallery and the models.

        Raises:
            ModelFileError: a model is missing or damaged.
            GalleryError: the gallery cannot be read, or was made with another model.
            ConfigError: settings that cannot work.
        """
        if settings.index is None:
            return cls._open_detection(settings)
        gallery = open_searched(settings.index)
        if settings.decision is not None:
            gallery = gallery.with_decision(settings.decision)

        if settings.outputs.unknown is not None and gallery.has(settings.outputs.unknown):
            raise ConfigError(f"strangers cannot be called {settings.outputs.unknown!r}: a person of the gallery is")

        def opened() -> OpenPipeline:
            contents = DETECT if settings.detect else PORTRAIT
            return open_pipeline(settings.pipeline, contents=contents, gallery=gallery)

        pipeline = opened()
        return cls(
            pipeline,
            outputs=settings.outputs,
            facts={**pipeline.facts, "index": shown_uri(settings.index)},
            # Who is in an engine may be millions, and change: there, those in one picture are told apart.
            colors=drawing.assign_colors(gallery.names) if isinstance(gallery, Gallery) else None,
            max_pixels=settings.max_pixels,
            workers=PictureWorkers(pipeline.analyzer, reopen=lambda: opened().analyzer, count=settings.workers),
        )

    @classmethod
    def _open_detection(cls, settings: SessionSettings) -> RecognitionSession:
        if not settings.detect:
            raise ConfigError("a session needs a gallery's index, detect, or both")
        pipeline = open_detection(settings.pipeline)
        workers = PictureWorkers(
            pipeline.analyzer, reopen=lambda: open_detection(settings.pipeline).analyzer, count=settings.workers
        )
        return cls(pipeline, outputs=settings.outputs, max_pixels=settings.max_pixels, workers=workers)

    def with_outputs(self, outputs: OutputSettings) -> RecognitionSession:
        """Return a session with the same models whose outputs go elsewhere, under names given out anew."""
        return RecognitionSession(
            self.pipeline,
            outputs=outputs,
            facts=self.facts,
            colors=self._colors,
            max_pixels=self._max_pixels,
            workers=self.workers,
        )

    @property
    def model(self) -> Optional[ModelIdentity]:
        """The recogniser's identity; None when nobody is named."""
        return self.pipeline.model

    @property
    def caution(self) -> str:
        """What is to be said about the gallery or its threshold; may be empty."""
        return self.pipeline.caution

    @property
    def label_style(self) -> drawing.LabelStyle:
        """What is said of a face: how strangers are called, similarity or distance."""
        metric, spec = self._outputs.distance, PLAIN_COSINE if self.model is None else self.model.similarity
        distance = None if metric is None else functools.partial(distance_of, metric=metric, spec=spec)
        return drawing.LabelStyle(self._outputs.font_size, self._outputs.unknown or UNKNOWN, distance)

    def pictures(
        self, pictures: Iterable[FoundPicture], *, before_writing: Callable[[], None] = lambda: None
    ) -> Iterator[SourceRecord]:
        """Give a finding for every picture in order, whatever happens to it.

        Args:
            pictures: what to look at; wrap it for a progress bar.
            before_writing: called when a picture has been looked at. From then on until its finding is taken nothing
                should stop the run: there would be an annotated copy of which no result tells.
        """
        for looked in self.workers.map(self._look_at, pictures):
            before_writing()
            yield self._written(looked)

    def array(self, image: np.ndarray, *, source: str) -> SourceRecord:
        """Look at (H, W, 3) uint8 RGB; its annotated copy replaces the file ``source`` of the output folder.

        Raises:
            ImageError: an array of another shape or type.
        """
        result = self.pipeline.analyzer.analyze(image, source=source)
        target = None if self._outputs.drawn is None else Path(self._outputs.drawn) / source
        looked = self._made(FoundPicture(Path(source)), image, SourceRecord(source, result), suffix=Path(source).suffix)
        return self._written(looked, target=target)

    def video_target(self, source: str) -> Optional[Path]:
        """Return where the annotated copy of a video, camera or stream goes; None when none is wanted."""
        return None if self._names is None else self._names.for_video(source)

    def draw(self, image: np.ndarray, result: ImageResult) -> np.ndarray:
        """Return (H, W, 3) uint8 RGB with boxes and names in the colours of the gallery."""
        font = self._outputs.font
        return drawing.draw_faces(image, result.faces, font_path=font, colors=self._colors, style=self.label_style)

    def _look_at(self, analyzer: Analyzer, found: FoundPicture) -> _Looked:
        """Find the faces of one picture and draw them; several threads do so at once, with an analyzer each."""
        source = files.printable(found.path)
        try:
            content = images.read_file(found.path)
            image = images.decode_image(content, name=source, max_pixels=self._max_pixels)
            result = analyzer.analyze(image, source=source)
        except ImageError as error:
            return _Looked(found, SourceRecord(source, None, (str(error),)))
        frames = images.count_frames(content)
        note = f"first of {frames} frames" if frames > 1 else ""
        record = SourceRecord(source, result.without_picture(), note=note)
        return self._made(found, image, record, suffix=drawn_suffix(found.path))

    def _made(self, found: FoundPicture, image: np.ndarray, record: SourceRecord, *, suffix: str) -> _Looked:
        """Encode what is wanted beside a result."""
        assert record.result is not None, "there is nothing to draw"
        crops = [] if self._crops is None else encode_crops(image, record.result)
        drawn: Union[bytes, ImageError, None] = None
        if self._outputs.drawn is not None:
            try:
                drawn = images.encode_image(self.draw(image, record.result), suffix=suffix)
            except ImageError as error:
                drawn = error
        return _Looked(found, record, drawn, crops)

    def _written(self, looked: _Looked, *, target: Optional[Path] = None) -> SourceRecord:
        """Write what was made of a picture, its annotated copy to ``target``, and return the whole finding."""
        found, record = looked.found, looked.record
        if record.result is None:
            return record
        problems = []
        try:
            if looked.drawn is not None and self._names is not None:
                path = self._names.for_picture(found.path, relative=found.relative) if target is None else target
                _write_drawn(path, looked.drawn)
        except ImageError as error:
            problems.append(str(error))
        try:
            if self._crops is not None:
                self._crops.save(looked.crops, relative=found.relative)
        except ImageError as error:
            problems.append(str(error))
        return replace(record, problems=tuple(problems))


def _write_drawn(path: Path, drawn: Union[bytes, ImageError]) -> None:
    if isinstance(drawn, ImageError):
        raise ImageError(f"{files.printable(path)}: {drawn}")
    images.write_encoded(path, drawn)
