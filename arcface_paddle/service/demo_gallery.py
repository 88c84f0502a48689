"""A gallery of the photographs that come with the package, for a first look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

from arcface_paddle import images
from arcface_paddle.files import PathLike
from arcface_paddle.pipeline import demo_photographs
from arcface_paddle.pipeline.analyzer import Analyzer
from arcface_paddle.pipeline.gallery import ModelIdentity
from arcface_paddle.pipeline.gallery.enrolment import EnrolmentReport, EnrolmentSettings, build_gallery, list_people
from arcface_paddle.service.crops import crop_of
from arcface_paddle.service.gallery_store import PeopleStore
from arcface_paddle.service.inference import FaceModels


@dataclass(frozen=True, eq=False)
class _Pipeline:
    """The models of a service as enrolment takes them."""

    analyzer: Analyzer
    model: ModelIdentity
    facts: Mapping[str, Any]


def keep_demo_crops(people: PeopleStore) -> None:
    """Cut the small pictures of the demonstration's people out of the photographs, for the page to show."""
    folder = demo_photographs.photographs_folder() / demo_photographs.GALLERY
    for person in people.page(search="", offset=0, limit=1000)[1]:
        for face in people.faces_of(person.record.id):
            if face.entry.box_xyxy is not None:
                crop = crop_of(images.read_image(folder / face.entry.path), face.entry.box_xyxy)
                people.keep_crop(person.record.id, face.id, crop)


def build_demo_gallery(path: PathLike, models: FaceModels) -> EnrolmentReport:
    """Write a gallery of the people on the photographs.

    Raises:
        DataError: the photographs are missing from the installation.
        GalleryError: the file cannot be written.
    """
    photographs = demo_photographs.photographs_folder()
    people = list_people(
        EnrolmentSettings(photographs / demo_photographs.GALLERY, photographs / demo_photographs.LABELS)
    )
    facts = {"det_model": models.det_model, "rec_model": models.rec_model, "flip": models.identity.mirrored}
    pipeline = _Pipeline(Analyzer(models.detectors[0], models.recognizer), models.identity, facts)
    return build_gallery(path, people, pipeline=pipeline)
