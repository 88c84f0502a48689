"""What surrounds the grouping of a library: what was said before goes in; page, sidecars and gallery come out."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from arcface_paddle import files
from arcface_paddle.errors import DataError
from arcface_paddle.library.assembly import AssembledLibrary
from arcface_paddle.library.correction_files import CorrectionMemory, read_corrections
from arcface_paddle.library.correction_rules import corrections_of
from arcface_paddle.library.documents import PEOPLE_NAME, PeopleDocument, read_people
from arcface_paddle.library.embedded import load_embedded
from arcface_paddle.library.enrolling import enrol_groups
from arcface_paddle.library.face_sheets import FaceSheets, Progress
from arcface_paddle.library.grouping.constraints import make_units
from arcface_paddle.library.page import write_page
from arcface_paddle.library.records import NO_CORRECTIONS, Corrections
from arcface_paddle.library.sidecars import SidecarPlace, SidecarReport, write_sidecars

PAGE_NAME = "people.html"
FACES_NAME = "faces"
"""Folder of the small pictures, in the folder of the results."""


@dataclass(frozen=True)
class AlbumSettings:
    """What is to be written of a library.

    Attributes:
        page: write ``PAGE_NAME``.
        sidecars: write names into XMP files there; None for not.
        gallery: put the named groups into this gallery file; None for not.
    """

    page: bool = True
    sidecars: Optional[SidecarPlace] = None
    gallery: Optional[Path] = None


@dataclass
class AlbumReport:
    """What was written.

    Attributes:
        page: the page; None when it was not asked for.
        sidecars: what became of them; None likewise.
        enrolled: faces of the gallery now; None likewise.
        problems: a line each for what could not be read.
    """

    page: Optional[Path] = None
    sidecars: Optional[SidecarReport] = None
    enrolled: Optional[int] = None
    problems: list[str] = field(default_factory=list)


def take_corrections(
    folder: files.PathLike, *, given: Optional[files.PathLike] = None, take_back: bool = False
) -> CorrectionMemory:
    """Return what was said of a library so far, with one more file or with the last one taken back; it is not saved.

    Args:
        folder: of the results.
        given: a corrections file, about the ``people.json`` that is there.
        take_back: drop the file that was taken last.

    Raises:
        DataError: the file or the memory cannot be read, there is no ``people.json`` that it could be about, it names
            faces or groups that are not there, or nothing is to be taken back.
    """
    memory = CorrectionMemory.load(folder)
    if take_back:
        memory = memory.without_last()
    if given is None:
        return memory
    path = Path(folder) / PEOPLE_NAME
    if not path.is_file():
        raise DataError(
            f"{files.printable(given)}: corrections are about the groups of {path}, which is not there yet; run "
            "without --corrections first"
        )
    return memory.with_set(read_corrections(given, read_people(path).grouping, taken=memory.sets))


def corrections_for(memory: CorrectionMemory, assembled: AssembledLibrary) -> Corrections:
    """Return what a memory demands of the faces that there are now.

    What is said of the face of a near duplicate, or of one that was found twice, holds for all that are that face.
    """
    library = assembled.library
    pictures = {picture.sha256: picture for picture in library.pictures}
    units = make_units(library.faces, pictures, corrections=NO_CORRECTIONS, copies=assembled.copies)
    first: dict[int, str] = {}
    for copied in (False, True):  # an original stands for its copies
        for face, unit in zip(library.faces, units.unit_of):
            if (face.face_id in assembled.copies) == copied:
                first.setdefault(int(unit), face.face_id)
    same = {face.face_id: first[int(unit)] for face, unit in zip(library.faces, units.unit_of)}
    return corrections_of(memory.actions, same=same)


def publish(
    people: PeopleDocument,
    folder: files.PathLike,
    settings: AlbumSettings,
    *,
    command: str,
    corrections: Corrections = NO_CORRECTIONS,
    progress: Progress = iter,
) -> AlbumReport:
    """Write page, sidecars and gallery of a library, as far as they are asked for.

    Args:
        people: as it stands in ``people.json``.
        folder: of the results.
        settings: what to write.
        command: what the page tells the reader to run with the corrections.
        corrections: that hold now; the page shows the dates of birth.
        progress: wraps the pictures of which faces are cut.

    Raises:
        DataError: something cannot be written, or the store does not hold the faces.
        GalleryError: the gallery is of another model, or no group has a name.
    """
    report = AlbumReport()
    if settings.page:
        sheets = FaceSheets(Path(folder) / FACES_NAME)
        report.problems += sheets.update(people.pictures, people.faces, root=people.root, progress=progress)
        report.page = Path(folder) / PAGE_NAME
        write_page(report.page, people, sheets=sheets, command=command, births=corrections.birth)
    if settings.sidecars is not None:
        report.sidecars = write_sidecars(people, settings.sidecars)
        report.problems += [f"{path}: {reason}" for path, reason in report.sidecars.problems]
    if settings.gallery is not None:
        report.enrolled = len(enrol_groups(settings.gallery, load_embedded(people, beside=folder)))
    return report
