"""Face regions in XMP: where they are, what others have written, and files that mean harm."""

from __future__ import annotations

import dataclasses
import errno
import re
from pathlib import Path

import numpy as np
import pytest
from library_making import face_of, people_of, picture_of, write_picture
from PIL import Image

from arcface_paddle import files, images
from arcface_paddle.errors import DataError
from arcface_paddle.library import xml_files
from arcface_paddle.library.regions import Area, area_of_box, box_of_area
from arcface_paddle.library.sidecars import STEM, SidecarPlace, names_in_xmp, write_sidecars
from arcface_paddle.library.xmp import NamedFace, merge_regions, read_regions

EXIV2 = Path(__file__).parents[1] / "fixtures" / "xmp" / "exiv2.xmp"
GRACE = "Grace <Hopper> & Co"
SIZE = (400, 200)
STORED = {"stored_size_wh": SIZE, "orientation": 1, "name": "a.xmp"}
ADA = NamedFace("ada-0", "Ada", (300, 20, 340, 80))


def merged(content, *faces, **changes):
    return merge_regions(content, faces, **{**STORED, **changes})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_areas_are_of_the_stored_picture_at_every_orientation(tmp_path, orientation):
    stored = np.zeros((48, 80, 3), np.uint8)
    stored[6:18, 50:74] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    rows, columns = np.nonzero(images.read_image(tmp_path / "a.png")[:, :, 0])  # where our detectors would see it
    box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    header = images.read_header(tmp_path / "a.png")
    where = {"stored_size_wh": header.stored_size_wh, "orientation": header.orientation}
    area = area_of_box(box, **where)
    assert area is not None
    assert area.rounded(9) == Area((50 + 74) / 2 / 80, (6 + 18) / 2 / 48, 24 / 80, 12 / 48)
    assert box_of_area(area, **where) == pytest.approx(box)
    content = merge_regions(None, [NamedFace("f", "Ada", box)], **where, name="a").content
    assert content is not None
    assert read_regions(content, name="a").faces[0].area == area.rounded(6)


def test_a_box_that_reaches_outside_is_cut_and_one_outside_is_left_out():
    assert area_of_box((-10, -10, 40, 20), stored_size_wh=SIZE, orientation=1) == Area(0.05, 0.05, 0.1, 0.1)
    assert area_of_box((-10, -10, -1, -1), stored_size_wh=SIZE, orientation=1) is None


def test_names_survive_whatever_characters_they_have():
    names = ["李雷", "张\U0002ebf0", "<b>&amp;\"'", "a\x00b\x1fc\ud800d\ufffee", "Zoë\n O’Neil", "𠮷野家"]
    faces = [NamedFace(f"f-{i}", name, (i * 60, 0, i * 60 + 40, 40)) for i, name in enumerate(names)]
    content = merged(None, *faces).content
    read = [region.name for region in read_regions(content, name="a").faces]
    assert read == ["李雷", "张\U0002ebf0", "<b>&amp;\"'", "a b c d e", "Zoë O’Neil", "𠮷野家"]
    assert merged(content, *faces).content == content


def test_what_exiv2_wrote_is_read():
    regions = read_regions(EXIV2.read_bytes(), name="a")
    assert [(face.name, face.area) for face in regions.faces] == [
        (GRACE, Area(0.25, 0.5, 0.2, 0.4)),
        ("", Area(0.5, 0.5, 0.1, 0.2)),  # the pet is no face
    ]
    assert regions.applied_to_wh == SIZE


def test_what_others_wrote_stays_and_only_ours_changes():
    before = EXIV2.read_bytes()
    first = merged(before, ADA).content
    for text in ("A summer's day", "People/Grace", 'Name="Rex"', "stDim:w", "lang"):
        assert first.count(text.encode()) == before.count(text.encode()), text
    assert [face.name for face in read_regions(first, name="a").faces] == [GRACE, "", "Ada"]
    second = merged(first, dataclasses.replace(ADA, name="Ada Lovelace")).content
    assert [face.name for face in read_regions(second, name="a").faces] == [GRACE, "", "Ada Lovelace"]
    people = re.search(rb"PersonInImage>(.*?)</", second, re.S)[1] + second[second.index(b"PersonInImage") :]
    assert b"<rdf:li>Ada Lovelace</rdf:li>" in people
    assert b"<rdf:li>Ada</rdf:li>" not in second
    last = merged(second).content
    assert _canonical(last) == _canonical(before)


def test_what_exiv2_has_written_anew_is_still_ours():
    kept = EXIV2.with_name("exiv2_kept.xmp").read_bytes()
    assert b"xmp:Rating" in kept
    assert [face.face_id for face in read_regions(kept, name="a").faces] == ["", "", "ada-0"]
    assert merged(kept, ADA).content == kept
    assert [face.name for face in read_regions(merged(kept).content, name="a").faces] == [GRACE, ""]


def test_a_face_that_another_program_has_named_is_left_to_it():
    before = EXIV2.read_bytes()
    same = NamedFace("g-0", GRACE, (62, 62, 138, 138))
    assert merged(before, same).content == before
    other = dataclasses.replace(same, name="Jean")
    result = merged(before, other)
    assert (result.content, result.left_to_others) == (before, (other,))


def test_a_name_of_ours_that_somebody_has_changed_is_theirs():
    content = merged(None, ADA).content.replace(b'mwg-rs:Name="Ada"', b'mwg-rs:Name="Countess"')
    assert [(face.name, face.face_id) for face in read_regions(content, name="a").faces] == [("Countess", "")]
    result = merged(content, ADA)
    assert result.left_to_others == (ADA,)
    assert b'mwg-rs:Name="Countess"' in result.content


def test_areas_of_the_upright_picture_are_told_by_their_dimensions():
    content = EXIV2.read_bytes()  # 400 x 200, while the picture is stored as 200 x 400 and turned
    where = {"stored_size_wh": (200, 400), "orientation": 6}
    after = merged(content, ADA, **where).content
    assert read_regions(after, name="a").faces[-1].area == Area(0.8, 0.25, 0.1, 0.3)
    with pytest.raises(DataError, match="another shape"):
        merged(content, ADA, stored_size_wh=(300, 300))


@pytest.mark.parametrize(
    "item",
    [
        '<rdf:li rdf:parseType="Resource"><mwg-rs:Name>Ada</mwg-rs:Name><mwg-rs:Type>Face</mwg-rs:Type>'
        '<mwg-rs:Area rdf:parseType="Resource"><stArea:x>.5</stArea:x><stArea:y>.5</stArea:y><stArea:w>.2</stArea:w>'
        "<stArea:h>.4</stArea:h></mwg-rs:Area></rdf:li>",
        '<rdf:li mwg-rs:Name="Ada"><mwg-rs:Area stArea:x="200" stArea:y="100" stArea:w="80" stArea:h="80" '
        'stArea:unit="pixel"/></rdf:li>',
        "<rdf:li><rdf:Description><mwg-rs:Name><![CDATA[Ada]]></mwg-rs:Name><mwg-rs:Area><rdf:Description "
        'stArea:x="0.5" stArea:y="0.5" stArea:w="0.2" stArea:h="0.4"/></mwg-rs:Area></rdf:Description></rdf:li>',
    ],
    ids=["elements", "attributes in pixels", "descriptions"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_every_way_in_which_rdf_writes_a_region_is_read(item, encoding):
    assert [region.name for region in read_regions(_packet(item).encode(encoding), name="a").faces] == ["Ada"]
    assert read_regions(_packet(item).encode(encoding), name="a").faces[0].area == Area(0.5, 0.5, 0.2, 0.4)


@pytest.mark.parametrize("area", ['stArea:x="nan" stArea:y="0" stArea:w="1" stArea:h="1"', 'stArea:x="0.5"', ""])
def test_a_region_without_a_sound_rectangle_is_passed_over(area):
    packet = _packet(f'<rdf:li mwg-rs:Name="Ada"><mwg-rs:Area {area}/></rdf:li>').encode()
    assert read_regions(packet, name="a").faces == ()
    assert b'mwg-rs:Name="Ada"' in merged(packet, ADA).content


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'
DEEP = "<a>" * 101 + "</a>" * 101


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (LAUGHS.encode(), "DOCTYPE"),
        (LAUGHS.encode("utf-16"), "DOCTYPE"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "DOCTYPE"),
        (DEEP.encode(), "deeper than 100"),
        (b"<x>" + b"<a/>" * xml_files.MAX_PARTS + b"</x>", "parts"),
        (b"<x>" + b" " * xml_files.MAX_BYTES + b"</x>", "bytes of XML"),
        (b"<x>&undefined;</x>", "not well-formed"),
        (b"<x", "not well-formed"),
        (b"", "not well-formed"),
        (b'<?xml version="1.0" encoding="nobody-knows"?><x/>', "not well-formed"),
        (b"<x/>", "not XMP"),
    ],
)
def test_harmful_and_broken_xml_is_refused(content, reason):
    with pytest.raises(DataError, match=rf"^a\.xmp: .*{reason}"):
        read_regions(content, name="a.xmp")


def test_xml_is_written_as_it_was_read():
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- über -->\n<a xmlns="urn:a" xmlns:b="urn:b" b:c="&quot;&#10;&lt;">'
        "\n  <b:d/> &amp; <![CDATA[<raw>]]><?pi data?>&#13;</a>\n"
    )
    assert xml_files.to_bytes(xml_files.parse(text.encode(), name="a")).decode() == text


def test_sidecars_of_a_library(tmp_path):
    people = _library(tmp_path)
    pictures = {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    report = write_sidecars(people, SidecarPlace())
    assert sorted(report.written) == [
        str(tmp_path / name) for name in ("a.jpg.xmp", "copy/a.jpg.xmp", "turned.jpg.xmp")
    ]
    assert report.problems == report.left_to_others == report.removed == []
    again = write_sidecars(people, SidecarPlace())
    assert (again.written, again.unchanged) == ([], 3)
    [face] = read_regions((tmp_path / "turned.jpg.xmp").read_bytes(), name="a").faces
    assert (face.name, face.area) == ("李雷", Area(0.15, 0.75, 0.2, 0.3))  # stored rows are upright columns
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")} == pictures
    unnamed = dataclasses.replace(
        people.grouping, groups=tuple(dataclasses.replace(g, name=None) for g in people.grouping.groups)
    )
    gone = write_sidecars(dataclasses.replace(people, grouping=unnamed), SidecarPlace())
    assert sorted(gone.removed) == sorted(report.written)
    assert not list(tmp_path.rglob("*.xmp"))


def test_sidecars_in_a_folder_of_their_own_and_by_the_other_convention(tmp_path):
    people = _library(tmp_path / "in")
    write_sidecars(people, SidecarPlace(tmp_path / "out", STEM))
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.xmp"))
    assert found == ["a.jpg.xmp", "copy/a.xmp", "turned.xmp"]  # a.png has the stem of a.jpg
    assert not list((tmp_path / "in").rglob("*.xmp"))


def test_a_sidecar_that_is_there_counts_whatever_it_is_called(tmp_path):
    people = _library(tmp_path)
    (tmp_path / "turned.xmp").write_bytes(merged(None, ADA).content.replace(b"arcface:Face", b"arcface:Old"))
    report = write_sidecars(people, SidecarPlace())
    assert str(tmp_path / "turned.xmp") not in report.written  # of another shape: 400x200 for 60x40
    assert [path for path, _ in report.problems] == [str(tmp_path / "turned.jpg")]
    (tmp_path / "turned.xmp").write_bytes(b"<x")
    [(_, problem)] = write_sidecars(people, SidecarPlace()).problems
    assert "turned.xmp: not well-formed" in problem


def test_a_full_disk_is_said_and_the_rest_follows_later(tmp_path, monkeypatch):
    people = _library(tmp_path)
    write = files.write_bytes
    monkeypatch.setattr(files, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(DataError, match=r"a\.jpg\.xmp: cannot be written: No space left; 0 sidecars"):
        write_sidecars(people, SidecarPlace())
    monkeypatch.setattr(files, "write_bytes", write)
    assert len(write_sidecars(people, SidecarPlace()).written) == 3


def test_names_come_from_sidecars_and_from_the_pictures_themselves(tmp_path):
    packet = _packet(
        '<rdf:li mwg-rs:Name="Embedded"><mwg-rs:Area stArea:x=".2" stArea:y=".3" stArea:w=".2" stArea:h=".4"/></rdf:li>'
    )
    people = _library(tmp_path, xmp=packet.replace("400", "100").replace("200", "50").encode())
    faces = {face.picture: face.face_id for face in reversed(people.faces)}
    first, turned = (faces[picture.sha256] for picture in people.pictures[:2])
    assert names_in_xmp(people, SidecarPlace()).names == {first: "Embedded"}
    write_sidecars(people, SidecarPlace())
    assert names_in_xmp(people, SidecarPlace()).names == {first: "Embedded"}  # ours are no news
    sidecar = tmp_path / "turned.jpg.xmp"
    sidecar.write_bytes(sidecar.read_bytes().replace('mwg-rs:Name="李雷"'.encode(), b'mwg-rs:Name="Lei Li"'))
    (tmp_path / "a.jpg.xmp").write_bytes(b"<x")
    found = names_in_xmp(people, SidecarPlace())
    assert found.names == {turned: "Lei Li"}
    [(path, problem)] = found.problems
    assert path == str(tmp_path / "a.jpg")
    assert "not well-formed" in problem


def _library(root: Path, *, xmp: bytes = b""):
    """Ada at two places and Li Lei on a turned picture; a.png is a stranger."""
    write_picture(root / "a.jpg", size_wh=(100, 50), xmp=xmp)
    write_picture(root / "turned.jpg", size_wh=(60, 40), orientation=6)
    write_picture(root / "a.png", size_wh=(30, 30))
    (root / "copy").mkdir()
    (root / "copy" / "a.jpg").write_bytes((root / "a.jpg").read_bytes())
    first = picture_of(root, "a.jpg", size_wh=(100, 50), copies=("copy/a.jpg",))
    turned = picture_of(root, "turned.jpg", size_wh=(40, 60))
    stranger = picture_of(root, "a.png", size_wh=(30, 30))
    ada, lei = face_of(first, 0, (10, 5, 30, 25)), face_of(turned, 0, (4, 3, 16, 15))
    nobody = face_of(stranger, 0, (1, 1, 9, 9))
    groups = [("g1", "Ada", [ada]), ("g2", "李雷", [lei])]
    return people_of(root, [first, turned, stranger], [ada, lei, nobody], groups=groups)


def _packet(item: str) -> str:
    namespaces = " ".join(
        f'xmlns:{prefix}="{uri}"'
        for prefix, uri in (
            ("rdf", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"),
            ("mwg-rs", "http://www.metadataworkinggroup.com/schemas/regions/"),
            ("stArea", "http://ns.adobe.com/xmp/sType/Area#"),
            ("stDim", "http://ns.adobe.com/xap/1.0/sType/Dimensions#"),
        )
    )
    return (
        f'<rdf:RDF {namespaces}><rdf:Description rdf:about=""><mwg-rs:Regions rdf:parseType="Resource">'
        '<mwg-rs:AppliedToDimensions stDim:w="400" stDim:h="200" stDim:unit="pixel"/>'
        f"<mwg-rs:RegionList><rdf:Bag>{item}</rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions></rdf:Description></rdf:RDF>"
    )


def _canonical(content: bytes) -> list[str]:
    """Return a packet without the order and white space that mean nothing."""
    text = re.sub(r"\s+", " ", xml_files.to_bytes(xml_files.parse(content, name="a")).decode())
    return sorted(re.sub(r"> ?<", ">\n<", text).split("\n"))
