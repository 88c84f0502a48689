"""Names and areas of faces in XMP, as the Metadata Working Group (guidelines 2.0, chapter 5) and IPTC define them.

Written are ``mwg-rs:Regions`` of type Face, which digiKam, Lightroom and PhotoPrism read, and the names once more in
``Iptc4xmpExt:PersonInImage``, for programs that know no areas. ``MP:RegionInfo`` of Windows Live Photo Gallery is not
written: that program is gone, and who reads it reads MWG, too.

What else a packet holds stays in it, areas of other programs included. Ours carry a mark in ``mwg-rs:Extensions``,
which the standard provides for that, with the name that we wrote: an area whose name somebody has changed since
belongs to them. What another program says of a face goes before what we say.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from typing import Any, Iterable, Iterator, Optional, Sequence

from arcface_paddle.errors import DataError
from arcface_paddle.library import xml_files
from arcface_paddle.library.regions import Area, area_of_box, orientation_of_areas, upright_size

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MWG = "http://www.metadataworkinggroup.com/schemas/regions/"
AREA = "http://ns.adobe.com/xmp/sType/Area#"
DIMENSIONS = "http://ns.adobe.com/xap/1.0/sType/Dimensions#"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
OURS = "urn:arcface-paddle:library:1/"
_PREFIXES = {
    RDF: "rdf", MWG: "mwg-rs", AREA: "stArea", DIMENSIONS: "stDim", IPTC: "Iptc4xmpExt", OURS: "arcface",
}  # fmt: skip
_EMPTY = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="arcface-paddle">
<rdf:RDF xmlns:rdf="{RDF}">
<rdf:Description rdf:about="" xmlns:mwg-rs="{MWG}" xmlns:stArea="{AREA}" xmlns:stDim="{DIMENSIONS}"
 xmlns:Iptc4xmpExt="{IPTC}" xmlns:arcface="{OURS}"></rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""

_DECIMALS = 6  # a hundredth of a pixel of the largest pictures
SAME_FACE_OVERLAP = 0.4
"""From this intersection over union on, two rectangles are of one face: detectors differ by a forehead or a chin."""


@dataclass(frozen=True)
class Region:
    """A rectangle on a picture, as a packet describes it.

    Attributes:
        area: where it is.
        name: who it is; empty where the packet does not say.
        face_id: the face of ours that it was written for; empty for a region of another program.
    """

    area: Area
    name: str
    face_id: str = ""


@dataclass(frozen=True)
class Regions:
    """The faces of a packet.

    Attributes:
        faces: rectangles of the type Face, or of none; circles and points are left out.
        applied_to_wh: width and height of the picture that they were made for; None where it does not say.
    """

    faces: tuple[Region, ...]
    applied_to_wh: Optional[tuple[float, float]]


@dataclass(frozen=True)
class NamedFace:
    """A face that is to be written.

    Attributes:
        face_id: the name of the face in the library.
        name: who it is.
        box_xyxy: left, top, right, bottom in pixels of the upright picture.
    """

    face_id: str
    name: str
    box_xyxy: Sequence[float]


@dataclass(frozen=True)
class Merged:
    """A packet with our faces in it.

    Attributes:
        content: the packet; None when nothing is left to be said.
        left_to_others: faces that another program calls by another name; they were not written.
    """

    content: Optional[bytes]
    left_to_others: tuple[NamedFace, ...]


def read_regions(content: bytes, *, name: str) -> Regions:
    """Return the faces of an XMP packet.

    Args:
        content: of a sidecar, or the packet of a picture.
        name: what to call it in errors.

    Raises:
        DataError: not XML, with a DOCTYPE, or no XMP.
    """
    packet = _Packet(content, name)
    return Regions(tuple(region for _, region in packet.faces()), packet.applied_to())


def merge_regions(
    content: Optional[bytes],
    faces: Sequence[NamedFace],
    *,
    stored_size_wh: tuple[int, int],
    orientation: int,
    name: str,
) -> Merged:
    """Put faces into a packet: ours of an earlier run are replaced, everything else stays as it is.

    Args:
        content: the packet as it is; None for a new one.
        faces: those with a name; none to take ours out.
        stored_size_wh: width and height of the picture as its file stores it.
        orientation: of the picture, 1 to 8 as in EXIF.
        name: what to call the packet in errors.

    Raises:
        DataError: the packet cannot be read, or its regions were made for a picture of another shape.
    """
    if content is None and not faces:
        return Merged(None, ())
    packet = _Packet(_EMPTY.encode("utf-8") if content is None else content, name)
    before = xml_files.to_bytes(packet.document)
    others = [region for _, region in packet.faces() if not region.face_id]
    reading = orientation_of_areas(
        packet.applied_to() if packet.holds_others() else None, stored_size_wh=stored_size_wh, orientation=orientation
    )
    if reading is None:
        raise DataError(
            f"{name}: its regions are of a picture of another shape than this one of {stored_size_wh[0]}x"
            f"{stored_size_wh[1]}, which was cropped or turned since; let the program that wrote them correct them"
        )
    if reading != orientation:  # those who wrote the other regions meant the upright picture
        stored_size_wh = upright_size(stored_size_wh, orientation)
    to_write, left = _placed(faces, others, stored_size_wh=stored_size_wh, orientation=reading)
    packet.replace_ours(to_write, stored_size_wh)
    packet.set_people(dict.fromkeys(_as_text(face.name) for face in faces if face not in left))
    if packet.is_empty():
        return Merged(None, left)
    after = xml_files.to_bytes(packet.document)
    return Merged(content if after == before else after, left)


def _placed(
    faces: Sequence[NamedFace], others: Sequence[Region], *, stored_size_wh: tuple[int, int], orientation: int
) -> tuple[list[Region], tuple[NamedFace, ...]]:
    """Return the regions to write, and the faces that somebody else has named otherwise."""
    regions, left = [], []
    for face in faces:
        area = area_of_box(face.box_xyxy, stored_size_wh=stored_size_wh, orientation=orientation)
        if area is None:
            continue
        text = _as_text(face.name)
        same = [other for other in others if other.name and other.area.overlap(area) >= SAME_FACE_OVERLAP]
        if not same:
            regions.append(Region(area.rounded(_DECIMALS), text, face.face_id))
        elif all(other.name != text for other in same):
            left.append(face)
    return regions, tuple(left)


class _Packet:
    """The tree of a packet."""

    def __init__(self, content: bytes, name: str) -> None:
        self.document = xml_files.parse(content, name=name)
        root = self.document.documentElement
        found = [root] if _is(root, RDF, "RDF") else [e for e in xml_files.elements(root) if _is(e, RDF, "RDF")]
        if not found:
            raise DataError(f"{name}: XML, but not XMP (there is no rdf:RDF in it)")
        self._rdf = found[0]

    def faces(self) -> Iterator[tuple[Any, Region]]:
        """Give the rectangles of faces, each with its element."""
        dimensions = self.applied_to()
        for item in self._items():
            region = _region_of(item, dimensions)
            if region is not None and (_field(item, MWG, "Type") or "Face") == "Face":
                yield item, region

    def applied_to(self) -> Optional[tuple[float, float]]:
        """Return ``AppliedToDimensions``."""
        regions = self._property(MWG, "Regions")
        dimensions = None if regions is None else _field_element(regions, MWG, "AppliedToDimensions")
        if dimensions is None:
            return None
        width, height = (_number(_field(dimensions, DIMENSIONS, key)) for key in ("w", "h"))
        return None if width is None or height is None or min(width, height) <= 0 else (width, height)

    def holds_others(self) -> bool:
        """Tell whether other programs have regions of any kind in the packet."""
        return any(not _face_id_of(item) for item in self._items())

    def replace_ours(self, regions: Sequence[Region], stored_size_wh: tuple[int, int]) -> None:
        """Let the regions of ours be these; nothing is touched where they are so already."""
        fits = self.holds_others() or self.applied_to() == stored_size_wh or not regions
        if not fits or [region for _, region in self.faces() if region.face_id] != list(regions):
            self._remove_ours()
            for region in regions:
                self._add(region, stored_size_wh)

    def _remove_ours(self) -> None:
        """Take our regions out; the list goes with the last region in it."""
        ours = [item for item in self._items() if _face_id_of(item)]
        for item in ours:
            xml_files.remove(item)
        if ours and not self._items():
            xml_files.remove(self._property(MWG, "Regions"))

    def _add(self, region: Region, stored_size_wh: tuple[int, int]) -> None:
        item = _append(_append(self._bag(stored_size_wh), RDF, "li"), RDF, "Description")
        _set(item, MWG, "Name", region.name)
        _set(item, MWG, "Type", "Face")
        area = _append(item, MWG, "Area")
        for key, value in zip("xywh", (region.area.x, region.area.y, region.area.width, region.area.height)):
            _set(area, AREA, key, f"{value:.{_DECIMALS}f}")
        _set(area, AREA, "unit", "normalized")
        mark = _append(item, MWG, "Extensions")
        _set(mark, OURS, "Face", region.face_id)
        _set(mark, OURS, "Name", region.name)

    def set_people(self, names: Iterable[str]) -> None:
        """Let ``PersonInImage`` hold ``names`` and what others have put there, and remember which are ours."""
        ours = set(self._texts(OURS, "PeopleAdded"))
        theirs = [text for text in self._texts(IPTC, "PersonInImage") if text not in ours]
        added = [text for text in names if text not in theirs]
        if added == self._texts(OURS, "PeopleAdded") and set(added) <= set(self._texts(IPTC, "PersonInImage")):
            return
        self._set_texts(IPTC, "PersonInImage", [*theirs, *added])
        self._set_texts(OURS, "PeopleAdded", added)

    def is_empty(self) -> bool:
        """Tell whether the packet says nothing."""
        spoken = (RDF, xml_files.XMLNS)
        return not any(
            xml_files.elements(one) or any(a.namespaceURI not in spoken for a in one.attributes.values())
            for one in xml_files.elements(self._rdf)
        )

    def _property(self, namespace: str, local: str) -> Any:
        for description in xml_files.elements(self._rdf):
            for element in xml_files.elements(description):
                if _is(element, namespace, local):
                    return element
        return None

    def _items(self) -> list[Any]:
        regions = self._property(MWG, "Regions")
        return [] if regions is None else _items_of(_field_element(regions, MWG, "RegionList"))

    def _bag(self, stored_size_wh: tuple[int, int]) -> Any:
        """Return the element of the regions; made, with the size that they apply to, where there is none."""
        regions = self._property(MWG, "Regions")
        if regions is None:
            regions = _append(self._description(), MWG, "Regions")
            _set(regions, RDF, "parseType", "Resource")
        if not self._items():
            self._set_dimensions(regions, stored_size_wh)
        listed = _field_element(regions, MWG, "RegionList")
        if listed is None:
            listed = _append(_holder(regions), MWG, "RegionList")
        bag = next((child for child in xml_files.elements(listed) if child.namespaceURI == RDF), None)
        return _append(listed, RDF, "Bag") if bag is None else bag

    def _set_dimensions(self, regions: Any, stored_size_wh: tuple[int, int]) -> None:
        old = _field_element(regions, MWG, "AppliedToDimensions")
        if old is not None:
            xml_files.remove(old)
        dimensions = _append(_holder(regions), MWG, "AppliedToDimensions")
        for key, value in zip("wh", stored_size_wh):
            _set(dimensions, DIMENSIONS, key, str(value))
        _set(dimensions, DIMENSIONS, "unit", "pixel")

    def _description(self) -> Any:
        found = [one for one in xml_files.elements(self._rdf) if _is(one, RDF, "Description")]
        if found:
            return found[0]
        made = _append(self._rdf, RDF, "Description")
        _set(made, RDF, "about", "")
        return made

    def _texts(self, namespace: str, local: str) -> list[str]:
        found = self._property(namespace, local)
        return [] if found is None else [xml_files.text_of(item) for item in _items_of(found)]

    def _set_texts(self, namespace: str, local: str, texts: Sequence[str]) -> None:
        found = self._property(namespace, local)
        if found is not None:
            parent = found.parentNode
            xml_files.remove(found)
        else:
            parent = self._description()
        if texts:
            bag = _append(_append(parent, namespace, local), RDF, "Bag")
            for text in texts:
                _append(bag, RDF, "li").appendChild(self.document.createTextNode(text))


def _region_of(item: Any, dimensions: Optional[tuple[float, float]]) -> Optional[Region]:
    area = _field_element(item, MWG, "Area")
    if area is None:
        return None
    x, y, width, height = (_number(_field(area, AREA, key)) for key in "xywh")
    if x is None or y is None or width is None or height is None or min(width, height) <= 0:
        return None
    if _field(area, AREA, "unit") == "pixel":
        if dimensions is None:
            return None
        (x, width), (y, height) = (
            (one / dimensions[0] for one in (x, width)),
            (one / dimensions[1] for one in (y, height)),
        )
    return Region(Area(x, y, width, height), (_field(item, MWG, "Name") or "").strip(), _face_id_of(item))


def _face_id_of(item: Any) -> str:
    """Return the face that a region was written for; empty when it is not ours, or not any more."""
    mark = _field_element(item, MWG, "Extensions")
    if mark is None or _field(mark, OURS, "Name") != _field(item, MWG, "Name"):
        return ""
    return _field(mark, OURS, "Face") or ""


def _as_text(name: str) -> str:
    """Return a name as XML can hold it: control characters and lone surrogates, which it cannot, become spaces.

    A letter that this Python does not know yet is one all the same: Unicode goes on adding those of Chinese names.
    """
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs") or c in "\ufffe\uffff" else c for c in name)
    return " ".join(clean.split())


def _number(text: Optional[str]) -> Optional[float]:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _is(element: Any, namespace: str, local: str) -> bool:
    return element.namespaceURI == namespace and element.localName == local


def _holder(struct: Any) -> Any:
    """Return the element in which the fields of a struct stand: itself, or an ``rdf:Description`` in it."""
    inner = [child for child in xml_files.elements(struct) if _is(child, RDF, "Description")]
    return inner[0] if inner else struct


def _field_element(struct: Any, namespace: str, local: str) -> Any:
    return next((child for child in xml_files.elements(_holder(struct)) if _is(child, namespace, local)), None)


def _field(struct: Any, namespace: str, local: str) -> Optional[str]:
    """Return the text of a field, which RDF allows to be an attribute or an element."""
    holder = _holder(struct)
    for element in (holder, struct):
        if element.hasAttributeNS(namespace, local):
            return str(element.getAttributeNS(namespace, local))
    child = _field_element(struct, namespace, local)
    return None if child is None else xml_files.text_of(child)


def _items_of(array: Any) -> list[Any]:
    """Return the items of an array property (Bag, Seq or Alt)."""
    bags = [] if array is None else [child for child in xml_files.elements(array) if child.namespaceURI == RDF]
    return [item for bag in bags for item in xml_files.elements(bag) if _is(item, RDF, "li")]


def _append(parent: Any, namespace: str, local: str) -> Any:
    return xml_files.append(parent, namespace, local, prefix=_PREFIXES[namespace])


def _set(element: Any, namespace: str, local: str, value: str) -> None:
    name = xml_files.qualified(element, namespace, local, prefix=_PREFIXES[namespace])
    element.setAttributeNS(namespace, name, value)
