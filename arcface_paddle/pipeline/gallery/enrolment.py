"""Enrolling people: from a folder of their pictures to a gallery file, a new one or one that is there.

>>> from arcface_paddle.pipeline.opening import PipelineSettings, open_pipeline
>>> people = list_people(EnrolmentSettings("demo/gallery"))
>>> report = build_gallery("people.index", people, pipeline=open_pipeline(PipelineSettings()))
>>> report.faces, report.people, report.rejected
(3, 3, ())
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Callable, Iterable, Mapping, Optional, Protocol, Sequence

from arcface_paddle import files
from arcface_paddle.errors import GalleryError
from arcface_paddle.pipeline.gallery.collecting import (
    CollectedFaces,
    ImageAnalyzer,
    collect_faces,
    ignore_rejection,
)
from arcface_paddle.pipeline.gallery.collection import Gallery
from arcface_paddle.pipeline.gallery.editing import add_faces, open_own, require_certain, write_gallery
from arcface_paddle.pipeline.gallery.entries import ModelIdentity
from arcface_paddle.pipeline.gallery.pictures import (
    LabelledPicture,
    Rejection,
    list_from_label_file,
    names_are_of_files,
    search_tree,
    sort_into_people,
)
from arcface_paddle.pipeline.inputs import Listing
from arcface_paddle.pipeline.picture_workers import PictureWorkers
from arcface_paddle.pipeline.settings import DEFAULT_DECISION, ONE

Progress = Callable[[Sequence[LabelledPicture]], Iterable[LabelledPicture]]
"""Gives the pictures back one by one, and may show how far the work is."""


class EnrolmentPipeline(Protocol):
    """What makes the embeddings of a gallery: ``opening.OpenPipeline``."""

    @property
    def analyzer(self) -> ImageAnalyzer: ...
    @property
    def model(self) -> Optional[ModelIdentity]: ...
    @property
    def facts(self) -> Mapping[str, Any]: ...


_NOTHING_PASSED_OVER = Listing((), (), (), {}, {})


@dataclass(frozen=True)
class EnrolmentSettings:
    """Where the pictures of known people are.

    Attributes:
        image_folder: pictures; without ``label_file``, one folder per person, or where there are none one file.
        label_file: lines of a path inside ``image_folder``, a tab, and the person's name.
        exclude: patterns of files and folders that are left out, as ``inputs.find_pictures`` takes them; a label file
            says itself which pictures count.
    """

    image_folder: files.PathLike
    label_file: Optional[files.PathLike] = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListedPeople:
    """Who is on which picture.

    Attributes:
        pictures: in the order of the list or of the paths.
        rejections: lines that could not be understood, and pictures that lie in nobody's folder.
        listing: what the search of a tree found and passed over; nothing when a label file was read.
        named_by_file: whether each file is a person, as there are neither folders of persons nor a list.
    """

    pictures: tuple[LabelledPicture, ...]
    rejections: tuple[Rejection, ...]
    listing: Listing = _NOTHING_PASSED_OVER
    named_by_file: bool = False


@dataclass(frozen=True)
class EnrolmentReport:
    """What was written, and what did not get into it.

    Attributes:
        gallery: path of the file.
        faces: how many it holds now.
        people: of how many persons.
        added: how many faces are new.
        already_there: faces that the gallery had already.
        rejected: lines and pictures that gave no face, each with its reason.
        listing: what the search of a tree passed over.
        poor: pictures that were taken though they are poor, each with what is wrong with it.
    """

    gallery: str
    faces: int
    people: int
    added: int
    already_there: int
    rejected: tuple[Rejection, ...]
    listing: Listing
    poor: tuple[Rejection, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "gallery": self.gallery,
            "faces": self.faces,
            "people": self.people,
            "added": self.added,
            "already_there": self.already_there,
            "rejected": [asdict(rejection) for rejection in self.rejected],
            "poor": [asdict(picture) for picture in self.poor],
            "not_looked_at": self.listing.to_dict(),
        }


def list_people(settings: EnrolmentSettings) -> ListedPeople:
    """List the pictures of known people.

    Raises:
        GalleryError: no such folder or label file, or it names no picture.
    """
    if settings.label_file is not None:
        pictures, rejections = list_from_label_file(settings.label_file, image_folder=settings.image_folder)
        return ListedPeople(tuple(pictures), tuple(rejections))
    listing = search_tree(settings.image_folder, exclude=settings.exclude)
    pictures, rejections = sort_into_people(listing)
    return ListedPeople(tuple(pictures), tuple(rejections), listing, names_are_of_files(listing))


def build_gallery(
    target: files.PathLike,
    people: ListedPeople,
    *,
    pipeline: EnrolmentPipeline,
    decision: str = DEFAULT_DECISION,
    faces: str = ONE,
    progress: Progress = iter,
    on_rejection: Callable[[Rejection], None] = ignore_rejection,
    workers: Optional[PictureWorkers[ImageAnalyzer]] = None,
) -> EnrolmentReport:
    """Make a gallery of pictures and write it; what stands under ``target`` is replaced.

    Args:
        target: the file.
        people: as ``list_people`` gives them.
        pipeline: finds and embeds faces.
        decision: how several pictures of a person decide, one of ``index.DECISIONS``.
        faces: which of several faces in a picture is the person's, one of ``ONE_FACE_CHOICES``.
        progress: is given the pictures and gives them back, such as ``tqdm``.
        on_rejection: told of every picture that gives no face, as soon as that is known.
        workers: look at several pictures at once, with the models of ``pipeline``.

    Raises:
        GalleryError: no picture gave a face, or the file cannot be written.
        ConfigError: ``faces`` or the pipeline does not fit.
    """
    empty = Gallery.empty(_model_of(pipeline), decision=decision, parameters=pipeline.facts)
    collected = _collect(people, pipeline, faces=faces, progress=progress, on_rejection=on_rejection, workers=workers)
    gallery = empty.with_faces(collected.entries, collected.embeddings)
    if not len(gallery):
        raise GalleryError(f"none of the {len(people.pictures)} pictures gave a face; {target} was not written")
    write_gallery(target, gallery)
    return _report(target, before=empty, after=gallery, people=people, collected=collected)


def extend_gallery(
    target: files.PathLike,
    people: ListedPeople,
    *,
    pipeline: EnrolmentPipeline,
    faces: str = ONE,
    progress: Progress = iter,
    on_rejection: Callable[[Rejection], None] = ignore_rejection,
    workers: Optional[PictureWorkers[ImageAnalyzer]] = None,
) -> EnrolmentReport:
    """Add the faces of pictures to a gallery file; two processes may do so at the same time.

    The pictures are embedded first. What they gave is then added to what the file holds by that time, under its lock.

    Args:
        target: a gallery file of ours.
        people: as ``list_people`` gives them.
        pipeline: finds and embeds faces, with the recogniser of the gallery.
        faces: which of several faces in a picture is the person's, one of ``ONE_FACE_CHOICES``.
        progress: is given the pictures and gives them back, such as ``tqdm``.
        on_rejection: told of every picture that gives no face, as soon as that is known.
        workers: look at several pictures at once, with the models of ``pipeline``.

    Raises:
        GalleryError: no gallery of ours, made with another model or not known with which, or it cannot be written.
        ConfigError: ``faces`` or the pipeline does not fit.
    """
    model = _model_of(pipeline)
    _require_known_model(target, model)  # before the long work, and again with what is there then
    collected = _collect(people, pipeline, faces=faces, progress=progress, on_rejection=on_rejection, workers=workers)

    change = add_faces(target, collected.entries, collected.embeddings, model=model)
    return EnrolmentReport(
        gallery=files.printable(target),
        faces=change.faces,
        people=change.people,
        added=change.changed,
        already_there=len(collected.entries) - change.changed,
        rejected=(*people.rejections, *collected.rejections),
        listing=people.listing,
        poor=collected.poor,
    )


def _collect(
    people: ListedPeople,
    pipeline: EnrolmentPipeline,
    *,
    faces: str,
    progress: Progress,
    on_rejection: Callable[[Rejection], None],
    workers: Optional[PictureWorkers[ImageAnalyzer]],
) -> CollectedFaces:
    return collect_faces(
        progress(people.pictures),
        pipeline.analyzer,
        embedding_size=_model_of(pipeline).embedding_size,
        faces=faces,
        on_rejection=on_rejection,
        workers=workers,
    )


def _model_of(pipeline: EnrolmentPipeline) -> ModelIdentity:
    if pipeline.model is None:
        raise GalleryError("the pipeline has no recogniser; a gallery needs one")
    return pipeline.model


def _require_known_model(target: files.PathLike, model: ModelIdentity) -> None:
    with open_own(target) as store:
        require_certain(store.require_model(model), target)


def _report(
    target: files.PathLike, *, before: Gallery, after: Gallery, people: ListedPeople, collected: CollectedFaces
) -> EnrolmentReport:
    return EnrolmentReport(
        gallery=str(target),
        faces=len(after),
        people=len(after.names),
        added=len(after) - len(before),
        already_there=len(before) + len(collected.entries) - len(after),
        rejected=(*people.rejections, *collected.rejections),
        listing=people.listing,
        poor=collected.poor,
    )
