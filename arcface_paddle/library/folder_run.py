"""One run over a folder of pictures: what is new is looked at, faces are grouped, results are written.

    settings = PeopleSettings("photos", "photos-people")
    models = PipelineSettings(rec_model="FaceFusion")
    result = update_library(
        settings, models, open_workers=lambda count: PictureWorkers(open_pipeline(models).analyzer)
    )
    result.people.grouping.groups

Everything a run needs from the last one lies in the output folder: ``people.json`` with the ids of groups, and the
store (elsewhere if asked for). A run that is interrupted keeps what it has looked at.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Optional, Sequence

from arcface_paddle import files
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.library.assembly import AssembledLibrary, assemble
from arcface_paddle.library.correction_rules import leave_alone
from arcface_paddle.library.documents import PEOPLE_NAME, PeopleDocument, read_people, write_people
from arcface_paddle.library.grouping.engine import RecognizerFacts, group_library
from arcface_paddle.library.person_tree import LINKS, TREE_NAME, TREES, write_tree
from arcface_paddle.library.records import NO_CORRECTIONS, Corrections, Grouping
from arcface_paddle.library.scanning import OpenWorkers, ScanReport, ShowProgress, scan
from arcface_paddle.library.store import FaceStore, ScanIdentity, open_store
from arcface_paddle.pipeline import cards, model_files
from arcface_paddle.pipeline.inputs import Listing, find_pictures
from arcface_paddle.pipeline.settings import PipelineSettings

DEFAULT_RECOGNIZER = "FaceFusion"
"""Of libraries: grouping compares every face with every other, where the better of the shipped ones pays."""

STORE_NAME = "store"

GROUPING_VERSION = 2
"""To be raised when the same faces are to be grouped anew, by a method that has become better."""

CorrectionsFor = Callable[[AssembledLibrary], Corrections]
"""What somebody has said, given the faces that there are now."""


@dataclass(frozen=True)
class PeopleSettings:
    """What a run looks at, and what it makes.

    Attributes:
        folder: the pictures.
        output: gets ``people.json``, the tree, and the store; None for a folder beside ``folder``, called
            ``NAME-people``.
        store: folder of the embeddings; None for ``OUTPUT/store``.
        tree: one of ``person_tree.TREES``.
        recursive: whether folders inside of the folder are searched.
        exclude: patterns of what is left out, see ``inputs.find_pictures``.
        max_pixels: refuse larger pictures; None for the usual limit.
    """

    folder: files.PathLike
    output: Optional[files.PathLike] = None
    store: Optional[files.PathLike] = None
    tree: str = LINKS
    recursive: bool = True
    exclude: tuple[str, ...] = ()
    max_pixels: Optional[int] = None

    def __post_init__(self) -> None:
        if self.tree not in TREES:
            raise ConfigError(f"tree is {self.tree!r}; allowed: {', '.join(TREES)}")

    @property
    def output_folder(self) -> Path:
        """Where results go."""
        if self.output is not None:
            return Path(self.output)
        folder = Path(self.folder).absolute()
        return folder.with_name(f"{folder.name or 'library'}-people")

    @property
    def store_folder(self) -> Path:
        """Where embeddings are kept."""
        return self.output_folder / STORE_NAME if self.store is None else Path(self.store)

    @property
    def people_file(self) -> Path:
        """Path of ``people.json``."""
        return self.output_folder / PEOPLE_NAME


@dataclass(frozen=True, eq=False)
class PeopleResult:
    """What a run has done.

    Attributes:
        people: what ``people.json`` now holds.
        report: what was looked at.
        listing: what was found in the folder.
        linked: links or copies in the tree.
    """

    people: PeopleDocument
    report: ScanReport
    listing: Listing
    linked: int


def identify_models(settings: PipelineSettings) -> tuple[ScanIdentity, RecognizerFacts]:
    """Return what a store records of models and settings, by their cards and hashes, without loading a network.

    Raises:
        ModelFileError: a model is missing or damaged.
    """
    name = settings.rec_model or DEFAULT_RECOGNIZER
    card = model_files.find_card(name, task=cards.RECOGNITION, preset=settings.rec_preset)
    if card.fusion is not None:
        united = model_files.open_fusion(name)
        weights, preprocessing = united.weights_sha256(), united.preprocessing_sha256()
    else:
        single = model_files.open_model(name, task=cards.RECOGNITION, preset=settings.rec_preset)
        weights, preprocessing = single.weights_sha256(), card.preprocessing_sha256()
    detector = model_files.open_model(settings.det_model, task=cards.DETECTION, preset=settings.det_preset)
    mirrored = settings.mirrored is not False
    identity = ScanIdentity(
        recognizer=card.name,
        weights_sha256=weights,
        preprocessing_sha256=preprocessing,
        mirrored=mirrored,
        embedding_size=0 if card.recognizer is None else card.recognizer.embedding_size,
        detector=f"{detector.card.name} sha256:{detector.weights_sha256()}",
        search=f"det_thresh={settings.det_thresh} min_face={settings.min_face} rotate={settings.rotate}",
    )
    return identity, RecognizerFacts(identity.model, card, weights, mirrored)


def update_library(
    settings: PeopleSettings,
    pipeline: PipelineSettings,
    *,
    open_workers: OpenWorkers,
    show: ShowProgress = iter,
    corrections_for: CorrectionsFor = lambda assembled: NO_CORRECTIONS,
) -> PeopleResult:
    """Look at what is new in a folder, group all faces, and write ``people.json`` and the tree.

    Args:
        settings: folder and output.
        pipeline: models; their recogniser is ``DEFAULT_RECOGNIZER`` unless another is named.
        open_workers: loads these models, when there are new pictures.
        show: shows progress.
        corrections_for: gives what somebody has said.

    Raises:
        ImageError: no such folder, or no picture in it.
        DataError: no face in any picture, a damaged store or people file, contradicting corrections, a full disk.
        ModelFileError: a model is missing or damaged.
    """
    listing = list_library(settings)
    identity, recognizer = identify_models(pipeline)
    before = read_people(settings.people_file).grouping if settings.people_file.exists() else None
    with open_store(settings.store_folder, identity) as store:
        report = scan(listing.pictures, store, open_workers=open_workers, max_pixels=settings.max_pixels, show=show)
        assembled = _assembled(report, store, Path(settings.folder))
    _require_faces(assembled, report, listing)
    corrections = corrections_for(assembled)
    fingerprint = _fingerprint(assembled, identity, corrections)
    if before is not None and before.facts.fingerprint == fingerprint:
        grouping = before
    else:
        grouping = group_library(
            assembled.library, recognizer=recognizer, corrections=corrections, copies=assembled.copies, before=before
        )
        grouping = replace(grouping, facts=replace(grouping.facts, fingerprint=fingerprint))
    return _written(settings, assembled, leave_alone(grouping, corrections.unknown), report, listing)


def list_library(settings: PeopleSettings) -> Listing:
    """Return the pictures of a library's folder; its own results in there are left out.

    Raises:
        ImageError: no such folder, or no picture in it.
        ConfigError: it is a file.
    """
    if Path(settings.folder).is_file():
        raise ConfigError(f"{files.printable(settings.folder)}: is a file; name the folder of the pictures")
    listing = find_pictures(
        [settings.folder],
        recursive=settings.recursive,
        exclude=settings.exclude,
        leave_out=[settings.output_folder, settings.store_folder],
    )
    listing.require_pictures()
    return listing


def _assembled(report: ScanReport, store: FaceStore, root: Path) -> AssembledLibrary:
    stored = {}
    for sha256 in report.contents.values():
        picture = store.picture(sha256)
        assert picture is not None, "the scan reports only what is stored"
        stored[sha256] = picture
    return assemble(report.contents, stored, root=root.absolute())


def _fingerprint(assembled: AssembledLibrary, identity: ScanIdentity, corrections: Corrections) -> str:
    """Return a hash of all that decides a grouping: faces, their pictures' times, model, corrections, method."""
    library = assembled.library
    facts = [
        GROUPING_VERSION,
        identity.key,
        [(p.sha256, p.duplicate_of, str(p.captured)) for p in sorted(library.pictures, key=lambda p: p.sha256)],
        sorted(assembled.copies.items()),
        repr(corrections),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _require_faces(assembled: AssembledLibrary, report: ScanReport, listing: Listing) -> None:
    if assembled.library.faces:
        return
    bad = f", {len(report.problems)} of which cannot be read ({report.problems[0]})" if report.problems else ""
    raise DataError(f"no face found in {len(listing.pictures)} pictures{bad}; nothing was written")


def _written(
    settings: PeopleSettings,
    assembled: AssembledLibrary,
    grouping: Grouping,
    report: ScanReport,
    listing: Listing,
) -> PeopleResult:
    library = assembled.library
    store = settings.store_folder.absolute()
    try:
        write_people(settings.people_file, library, grouping=grouping, store=store)
    except OSError as error:
        raise DataError(f"{settings.people_file}: cannot be written: {error.strerror or error}") from None
    people = PeopleDocument(library.root, files.printable(store), library.pictures, library.faces, grouping)
    linked = write_tree(settings.output_folder / TREE_NAME, people, kind=settings.tree)
    return PeopleResult(people, report, listing, linked)


def sentence(result: PeopleResult) -> str:
    """Return what a run has found, in a sentence."""
    counts = result.people.grouping.facts.counts
    named = sum(1 for group in result.people.grouping.groups if group.name is not None)
    parts: Sequence[str] = (
        f"{counts['faces']} faces in {counts['pictures']} pictures",
        f"{counts['groups']} people" + (f" ({named} named)" if named else ""),
        f"{counts['uncertain']} uncertain",
        f"{counts['alone']} alone",
    )
    return ", ".join(parts)
