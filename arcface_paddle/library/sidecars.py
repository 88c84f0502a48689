"""XMP files beside pictures: where they lie, putting names into them, taking names out of them.

A picture itself is never written to. Two conventions name the file: ``photo.jpg.xmp`` (digiKam, darktable, PhotoPrism)
and ``photo.xmp`` (Adobe's); a file that is there already is the one that counts, whichever it is. Lightroom reads the
second kind beside raw files only, and of a JPEG only what is inside of it.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Optional, Protocol, Sequence

from arcface_paddle import files, images
from arcface_paddle.errors import ArcfaceError, DataError, GalleryError, ImageError
from arcface_paddle.library import xml_files
from arcface_paddle.library.documents import PeopleDocument
from arcface_paddle.library.records import LibraryFace, LibraryPicture
from arcface_paddle.library.regions import Area, area_of_box, box_of_area, orientation_of_areas
from arcface_paddle.library.xmp import SAME_FACE_OVERLAP, NamedFace, Regions, merge_regions, read_regions
from arcface_paddle.pipeline.gallery.entries import clean_name

FULL, STEM = "full", "stem"
NAMINGS = (FULL, STEM)
"""``photo.jpg.xmp``, ``photo.xmp``."""


class HasFaces(Protocol):
    """Pictures with their faces: a ``Library`` before it is grouped, a ``PeopleDocument`` after."""

    @property
    def root(self) -> str: ...
    @property
    def pictures(self) -> Sequence[LibraryPicture]: ...
    @property
    def faces(self) -> Sequence[LibraryFace]: ...


@dataclass(frozen=True)
class SidecarPlace:
    """Where sidecars lie.

    Attributes:
        folder: a folder for them, in which the tree of the pictures is repeated; None for beside the pictures.
        naming: one of ``NAMINGS``, for files that are not there yet.
    """

    folder: Optional[Path] = None
    naming: str = FULL


@dataclass
class SidecarReport:
    """What became of the sidecars of a library.

    Attributes:
        written: paths of files that were made or changed.
        unchanged: how many were as they should be.
        removed: paths of files that held nothing but names that are gone.
        left_to_others: (path of the picture, name): another program calls that face otherwise, and it stays so.
        problems: (path, what is wrong): a sidecar or picture that cannot be read; it was not touched.
    """

    written: list[str] = field(default_factory=list)
    unchanged: int = 0
    removed: list[str] = field(default_factory=list)
    left_to_others: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class XmpNames:
    """Names that other programs have given to the faces of a library.

    Attributes:
        names: by the id of the face.
        problems: (path, what is wrong).
    """

    names: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


def write_sidecars(people: PeopleDocument, place: SidecarPlace) -> SidecarReport:
    """Write the names of a library's groups into a sidecar for each picture, and take those out that no longer hold.

    It may be called again and again: a file that is right already is not touched.

    Raises:
        DataError: a file cannot be written (a full disk); what was written before it stays.
    """
    report = SidecarReport()
    names = {face_id: group.name for group in people.grouping.groups if group.name for face_id in group.face_ids}
    faces = _faces_by_picture(people)
    shared = _shared_stems(people)
    for picture in people.pictures:
        named = [
            NamedFace(face.face_id, names[face.face_id], face.box_xyxy.tolist())
            for face in faces.get(picture.sha256, ())
            if face.face_id in names
        ]
        for path in (picture.path, *picture.copies):
            target = _sidecar(people, path, place=place, shared=shared)
            if named or _is_file(target):
                _write_one(Path(people.root) / path, target, named, report)
    return report


def names_in_xmp(people: HasFaces, place: SidecarPlace) -> XmpNames:
    """Read the names that other programs have given, from sidecars, or where there is none from the picture itself.

    A face gets the name of the region that covers it best. What we wrote ourselves is no news and is passed over.
    """
    found = XmpNames()
    faces = _faces_by_picture(people)
    shared = _shared_stems(people)
    for picture in people.pictures:
        if picture.sha256 in faces:
            path = Path(people.root) / picture.path
            sidecar = _sidecar(people, picture.path, place=place, shared=shared)
            try:
                found.names.update(_names_on(picture, faces[picture.sha256], path=path, sidecar=sidecar))
            except ArcfaceError as error:
                found.problems.append((files.printable(path), str(error)))
    return found


def _write_one(picture: Path, target: Path, named: Sequence[NamedFace], report: SidecarReport) -> None:
    try:
        before = target.read_bytes() if _is_file(target) else None
        header = images.read_header(picture)
        merged = merge_regions(
            before,
            named,
            stored_size_wh=header.stored_size_wh,
            orientation=header.orientation,
            name=files.printable(target),
        )
    except (ImageError, DataError) as error:
        report.problems.append((files.printable(picture), str(error)))
        return
    except OSError as error:
        report.problems.append((files.printable(target), f"cannot be read: {error.strerror or error}"))
        return
    report.left_to_others += [(files.printable(picture), face.name) for face in merged.left_to_others]
    _put(target, before, merged.content, report)


def _put(target: Path, before: Optional[bytes], after: Optional[bytes], report: SidecarReport) -> None:
    """Bring a file from one content to another, where None is no file."""
    if after == before:
        report.unchanged += after is not None
        return
    try:
        if after is None:
            target.unlink()
            report.removed.append(files.printable(target))
        else:
            files.write_bytes(os.path.realpath(target), after)  # a link stays one
            report.written.append(files.printable(target))
    except OSError as error:
        hint = "--xmp_dir writes elsewhere" if isinstance(error, PermissionError) else "the same command goes on"
        raise DataError(
            f"{files.printable(target)}: cannot be written: {error.strerror or error}; "
            f"{len(report.written)} sidecars were written before it, {hint}"
        ) from None


def _sidecar(people: HasFaces, path: str, *, place: SidecarPlace, shared: Counter[str]) -> Path:
    """Return the sidecar of a picture: the one that is there, or the one that is to be made."""
    picture = Path(people.root) / path
    if place.folder is not None:
        # A picture outside of the library's folder has an absolute path, which must not lead out of place.folder.
        picture = place.folder / Path(*[part for part in Path(path).parts if part not in (Path(path).anchor, "..")])
    full, stem = picture.with_name(f"{picture.name}.xmp"), picture.with_suffix(".xmp")
    if shared[_stem(path)] > 1:  # photo.jpg and photo.heic would write into one file
        return full
    chosen, other = (full, stem) if place.naming == FULL else (stem, full)
    return other if _is_file(other) and not _is_file(chosen) else chosen


def _is_file(path: Path) -> bool:
    """Tell whether there is a file; a name that is too long for the system, as that of a sidecar may be, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def _shared_stems(people: HasFaces) -> Counter[str]:
    return Counter(_stem(path) for picture in people.pictures for path in (picture.path, *picture.copies))


def _stem(path: str) -> str:
    return str(Path(path).with_suffix(""))


def _names_on(
    picture: LibraryPicture, faces: Sequence[LibraryFace], *, path: Path, sidecar: Path
) -> Iterator[tuple[str, str]]:
    """Give the face and name of each region of another program that lies on a face."""
    header = images.read_header(path)
    regions = _regions_beside(sidecar) or _regions_inside(header.xmp, path)
    if regions is None:
        return
    size_wh, turned = header.stored_size_wh, header.orientation
    reading = orientation_of_areas(regions.applied_to_wh, stored_size_wh=size_wh, orientation=turned)
    if reading is None:
        raise DataError("its XMP regions are of a picture of another shape; they were passed over")
    upright = {face.face_id: _upright_area(face.box_xyxy.tolist(), picture.size_wh) for face in faces}
    stored_wh = size_wh if reading == turned else picture.size_wh
    pairs = []
    for region in regions.faces:
        box = box_of_area(region.area, stored_size_wh=stored_wh, orientation=reading)
        area = _upright_area(box, picture.size_wh)
        if region.name and not region.face_id and area is not None:
            pairs += [(area.overlap(other), face_id, region) for face_id, other in upright.items() if other is not None]
    taken: set[object] = set()
    for overlap, face_id, region in sorted(pairs, key=lambda pair: -pair[0]):
        if overlap >= SAME_FACE_OVERLAP and not {face_id, region} & taken:
            taken |= {face_id, region}
            with contextlib.suppress(GalleryError):  # "unknown" or without a letter: not a name
                yield face_id, clean_name(region.name)


def _upright_area(box_xyxy: Sequence[float], size_wh: tuple[int, int]) -> Optional[Area]:
    return area_of_box(box_xyxy, stored_size_wh=size_wh, orientation=1)


def _regions_beside(sidecar: Path) -> Optional[Regions]:
    if not _is_file(sidecar):
        return None
    try:
        with sidecar.open("rb") as stream:
            content = stream.read(xml_files.MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{files.printable(sidecar)}: cannot be read: {error.strerror or error}") from None
    regions = read_regions(content, name=files.printable(sidecar))
    # One that holds nothing but what we wrote says nothing about what stands in the picture.
    return regions if any(not region.face_id for region in regions.faces) else None


def _regions_inside(packet: bytes, path: Path) -> Optional[Regions]:
    return read_regions(packet, name=f"XMP in {files.printable(path)}") if packet else None


def _faces_by_picture(people: HasFaces) -> dict[str, list[LibraryFace]]:
    faces: dict[str, list[LibraryFace]] = {}
    for face in people.faces:
        faces.setdefault(face.picture, []).append(face)
    return faces
