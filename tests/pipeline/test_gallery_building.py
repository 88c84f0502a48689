"""From label files and folders to faces: every picture ends up in the gallery or in the report."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.errors import ConfigError, GalleryError
from arcface_paddle.pipeline.gallery import Gallery, ModelIdentity, collect_faces, list_from_label_file, list_from_tree
from arcface_paddle.pipeline.gallery.enrolment import EnrolmentSettings, list_people
from arcface_paddle.pipeline.picture_workers import PictureWorkers
from arcface_paddle.pipeline.quality import POOR_QUALITY
from arcface_paddle.types import Detection, Face, ImageResult

MODEL = ModelIdentity("testnet", 4, "a", "b", mirrored=False)


class OneFacePerBrightSquare:
    """Stands in for the analyzer: the first pixel's red value says how many faces there are, green who the first is."""

    def analyze(self, image, *, source="array"):
        count, who = int(image[0, 0, 0]), int(image[0, 0, 1])
        faces = []
        for i in range(count):
            box = np.array([0, 0, 40 - 10 * i, 40 - 10 * i], np.float32)
            embedding = np.eye(4, dtype=np.float32)[(who + i) % 4]
            faces.append(Face(Detection(box, 0.9), embedding=embedding))
        return ImageResult(source, (image.shape[1], image.shape[0]), tuple(faces))


def put_picture(path, *, faces=1, who=0, blue=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = faces, who, blue
    images.write_image(path, image)
    return path


@pytest.fixture
def people(tmp_path):
    put_picture(tmp_path / "Ada" / "1.png", who=0)
    put_picture(tmp_path / "李雷" / "1.png", who=1)
    put_picture(tmp_path / "李雷" / "更多" / "2.png", who=1, blue=9)
    return tmp_path


def test_label_file_with_mark_crlf_comments_and_odd_lines(people):
    lines = [
        "# people",
        "./Ada/1.png\tAda",
        "",
        "李雷/1.png\t 李雷 ",
        "no tab here",
        "a\tb\tc",
        "x.png\tunknown",
        "\tAda",
    ]
    (people / "label.txt").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    pictures, rejections = list_from_label_file(people / "label.txt", image_folder=people)
    assert [(p.name, p.listed_as) for p in pictures] == [("Ada", "Ada/1.png"), ("李雷", "李雷/1.png")]
    assert all(p.path.is_file() for p in pictures)
    assert [r.source.rsplit(":", 1)[1] for r in rejections] == ["5", "6", "7", "8"]
    assert {r.reason for r in rejections} == {"bad_line"}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no picture"), (b"# only\n", "no picture"), ("a.jpg\t李".encode("gbk"), ":1: not UTF-8")],
)
def test_label_file_without_use(tmp_path, content, message):
    (tmp_path / "label.txt").write_bytes(content)
    with pytest.raises(GalleryError, match=message):
        list_from_label_file(tmp_path / "label.txt", image_folder=tmp_path)


def test_missing_label_file_and_folder(tmp_path):
    with pytest.raises(GalleryError, match=r"none\.txt"):
        list_from_label_file(tmp_path / "none.txt", image_folder=tmp_path)
    with pytest.raises(GalleryError, match="no such folder"):
        list_from_tree(tmp_path / "none")
    with pytest.raises(GalleryError, match="holds no picture"):
        list_from_tree(tmp_path)


def test_tree_names_people_by_their_folder_and_reports_strays(people):
    put_picture(people / "stray.png")
    put_picture(people / ".cache" / "thumb.png")
    put_picture(people / "unknown" / "1.png")
    (people / "Ada" / "notes.txt").write_text("not a picture")
    pictures, rejections = list_from_tree(people)
    assert [(p.name, p.listed_as) for p in pictures] == [
        ("Ada", "Ada/1.png"), ("李雷", "李雷/1.png"), ("李雷", "李雷/更多/2.png")]  # fmt: skip
    assert sorted(r.source for r in rejections) == ["stray.png", "unknown/1.png"]


def test_in_a_folder_without_folders_each_file_is_a_person(tmp_path):
    for name in ("Ada Lovelace.png", "J. Smith", "unknown.png", "李雷.webp", "李雷.PNG"):
        put_picture(tmp_path / "made.png").rename(tmp_path / name)
    put_picture(tmp_path / "@eaDir" / "thumb.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    people = list_people(EnrolmentSettings(tmp_path))
    assert people.named_by_file
    assert [(p.name, p.listed_as) for p in people.pictures] == [
        ("Ada Lovelace", "Ada Lovelace.png"), ("J. Smith", "J. Smith"),
        ("李雷", "李雷.PNG"), ("李雷", "李雷.webp")]  # fmt: skip
    assert [rejection.source for rejection in people.rejections] == ["unknown.png"]
    (tmp_path / "label.txt").write_text("J. Smith\tJim\n")
    with pytest.raises(GalleryError, match=r"says who is on the pictures; add --label .*label\.txt"):
        list_people(EnrolmentSettings(tmp_path))


@pytest.mark.parametrize(
    "name", ["#recycle", "@eaDir", "$RECYCLE.BIN", "lost+found", "__MACOSX", ".thumbnails", "System Volume Information"]
)
def test_system_folders_never_become_people(people, name):
    put_picture(people / name / "1.png")
    put_picture(people / name / "Eve" / "1.png")
    put_picture(people / "Ada" / name / "thumb.png")
    listed = list_people(EnrolmentSettings(people))
    assert {picture.name for picture in listed.pictures} == {"Ada", "李雷"}
    assert len(listed.pictures) == 3 and listed.rejections == ()
    assert listed.listing.folders == {name: 2}


def without_heif(monkeypatch) -> None:
    """Let the decoder of HEIC count as not installed, whatever this environment has."""
    missing = {".heic": "install arcface-paddle[heif]"}
    monkeypatch.setattr(images, "missing_decoder", lambda suffix: missing.get(suffix, ""))


def test_content_decides_what_a_picture_is_and_the_rest_is_counted(people, monkeypatch):
    without_heif(monkeypatch)
    put_picture(people / "Ada" / "2.jpg").rename(people / "Ada" / "from a browser.jfif")
    put_picture(people / "Ada" / "3.png").rename(people / "Ada" / "without suffix")
    (people / "Ada" / "IMG_1.HEIC").write_bytes((24).to_bytes(4, "big") + b"ftypheic\0\0\0\0mif1heic" + bytes(40))
    (people / "Ada" / "notes.txt").write_text("not a picture")
    put_picture(people / "Ada" / "1_small.png")
    listed = list_people(EnrolmentSettings(people, exclude=("*_small.png", "李雷/更多")))
    assert [picture.listed_as for picture in listed.pictures] == [
        "Ada/1.png", "Ada/from a browser.jfif", "Ada/without suffix", "李雷/1.png"]  # fmt: skip
    assert listed.listing.sentence().startswith("1 file was not looked at: 1 .heic (install arcface-paddle[heif]);")


def test_a_tree_of_nothing_but_what_cannot_be_read_says_so(tmp_path, monkeypatch):
    without_heif(monkeypatch)
    (tmp_path / "Ada").mkdir()
    (tmp_path / "Ada" / "1.heic").write_bytes((24).to_bytes(4, "big") + b"ftypheic\0\0\0\0mif1heic" + bytes(40))
    with pytest.raises(GalleryError, match=r"holds no picture.*1 \.heic \(install"):
        list_from_tree(tmp_path)


def test_label_file_from_another_system_finds_its_pictures(tmp_path):
    put_picture(tmp_path / "Jose\u0301" / "Rene\u0301e.png")
    put_picture(tmp_path / "a.png")
    (tmp_path / "label.txt").write_text(
        "Jos\u00e9/Ren\u00e9e.png\tJos\u00e9\n.\\a.png\tAda\nJos\u00e9\\Ren\u00e9e.png\tJos\u00e9\nnone\\b.png\tBob\n",
        encoding="utf-8",
    )
    pictures, rejections = list_from_label_file(tmp_path / "label.txt", image_folder=tmp_path)
    assert [picture.path.is_file() for picture in pictures] == [True, True, True, False] and rejections == []
    assert [picture.listed_as for picture in pictures[:3]] == [
        "Jos\u00e9/Ren\u00e9e.png", "a.png", "Jos\u00e9/Ren\u00e9e.png"]  # fmt: skip
    collected = collect_faces(pictures, OneFacePerBrightSquare(), embedding_size=4)
    assert len(collected.entries) == 3
    [missing] = collected.rejections
    assert missing.reason == "unreadable" and "none\\b.png" in missing.detail


def test_decomposed_names_are_the_same_person(tmp_path):
    put_picture(tmp_path / "Jose\u0301" / "1.png")
    put_picture(tmp_path / "Jos\u00e9" / "2.png")
    assert {p.name for p in list_from_tree(tmp_path)[0]} == {"Jos\u00e9"}


def test_every_picture_is_taken_or_reported(people, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    put_picture(people / "Ada" / "nobody.png", faces=0)
    put_picture(people / "Ada" / "two.png", faces=2, who=2)
    (people / "Ada" / "text.jpg").write_text("not a picture")
    (people / "Ada" / "zero.jpg").write_bytes(b"")
    pictures, _ = list_from_tree(people)
    collected = collect_faces(pictures, OneFacePerBrightSquare(), embedding_size=4)
    assert {r.source: r.reason for r in collected.rejections} == {
        "Ada/nobody.png": "no_face",
        "Ada/two.png": "several_faces",
        "Ada/text.jpg": "unreadable",
        "Ada/zero.jpg": "unreadable",
    }
    assert len(collected.entries) + len(collected.rejections) == len(pictures)
    entry = collected.entries[0]
    assert entry.sha256 == hashlib.sha256((people / "Ada" / "1.png").read_bytes()).hexdigest()
    assert (entry.box_xyxy, entry.detection_score, entry.created) == ((0, 0, 40, 40), 0.9, "1970-01-01T00:00:00Z")


def test_the_face_in_the_middle_can_be_asked_for(people):
    class BystanderAndSitter:
        def analyze(self, image, *, source="array"):
            boxes = np.array([[0, 0, 50, 60], [80, 80, 120, 120]], np.float32)
            faces = [Face(Detection(box, 0.9), embedding=row) for box, row in zip(boxes, np.eye(4, dtype=np.float32))]
            return ImageResult(source, (200, 200), tuple(faces))

    pictures, _ = list_from_tree(people)
    taken = {
        how: collect_faces(pictures, BystanderAndSitter(), embedding_size=4, faces=how).embeddings
        for how in ("one", "centre", "largest")
    }
    assert taken["one"].shape == (0, 4)
    np.testing.assert_array_equal(taken["largest"], np.eye(4)[[0, 0, 0]])
    np.testing.assert_array_equal(taken["centre"], np.eye(4)[[1, 1, 1]])
    with pytest.raises(ConfigError, match="one, centre, largest"):
        collect_faces(pictures, BystanderAndSitter(), embedding_size=4, faces="all")


def test_poor_pictures_are_taken_and_each_is_told_once(people):
    class Blurred(OneFacePerBrightSquare):
        def analyze(self, image, *, source="array"):
            result = super().analyze(image, source=source)
            quality = {"Ada/1.png": 0.1, "李雷/1.png": POOR_QUALITY}.get(source, 0.25)
            faces = [dataclasses.replace(face, quality=quality, weakness="blurred") for face in result.faces]
            return dataclasses.replace(result, faces=tuple(faces))

    told = []
    collected = collect_faces(list_from_tree(people)[0], Blurred(), embedding_size=4, on_rejection=told.append)
    assert len(collected.entries) == 3 and collected.rejections == ()
    assert [(one.source, one.reason) for one in told] == [
        ("Ada/1.png", "poor_quality"),
        ("李雷/更多/2.png", "poor_quality"),
    ]
    assert collected.poor == tuple(told)
    assert told[0].detail == "was taken, but is poor: blurred (quality 0.10); a better picture helps"


def test_the_largest_face_can_be_asked_for(people):
    put_picture(people / "Ada" / "two.png", faces=2, who=2)
    pictures, _ = list_from_tree(people)
    collected = collect_faces(pictures, OneFacePerBrightSquare(), embedding_size=4, faces="largest")
    row = [entry.path for entry in collected.entries].index("Ada/two.png")
    np.testing.assert_array_equal(collected.embeddings[row], np.eye(4)[2])
    assert collected.rejections == () and collected.persons == 2


def test_a_face_too_small_to_tell_people_apart_is_reported(people):
    class FindsTinyFaces:
        def analyze(self, image, *, source="array"):
            width = 16.4 if source.startswith("Ada") else 17.0
            box = np.array([5, 5, 5 + width, 30], np.float32)
            return ImageResult(source, (8, 8), (Face(Detection(box, 0.9), embedding=np.eye(4, dtype=np.float32)[0]),))

    collected = collect_faces(list_from_tree(people)[0], FindsTinyFaces(), embedding_size=4)
    assert [(r.source, r.reason) for r in collected.rejections] == [("Ada/1.png", "small_face")]
    assert len(collected.entries) == 2


def test_nothing_usable_gives_an_empty_matrix_of_the_right_width(tmp_path):
    put_picture(tmp_path / "Ada" / "nobody.png", faces=0)
    collected = collect_faces(list_from_tree(tmp_path)[0], OneFacePerBrightSquare(), embedding_size=4)
    assert collected.embeddings.shape == (0, 4) and len(collected.rejections) == 1


def test_collected_faces_join_a_gallery_once(people):
    collected = collect_faces(list_from_tree(people)[0], OneFacePerBrightSquare(), embedding_size=4)
    gallery = Gallery.empty(MODEL).with_faces(collected.entries, collected.embeddings)
    again = gallery.with_faces(collected.entries, collected.embeddings)
    assert len(gallery) == len(again) == 3 and again.entries == gallery.entries


def test_an_analyzer_without_recogniser_is_refused(people):
    class DetectsOnly:
        def analyze(self, image, *, source="array"):
            return ImageResult(source, (8, 8), (Face(Detection(np.array([0, 0, 50, 50], np.float32), 1.0)),))

    with pytest.raises(GalleryError, match="recogniser"):
        collect_faces(list_from_tree(people)[0], DetectsOnly(), embedding_size=4)


def test_workers_collect_the_same_faces_in_the_same_order(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    for number in range(40):
        put_picture(tmp_path / f"P{number % 7}" / f"{number:02}.png", faces=number % 3, who=number % 4, blue=number)
    (tmp_path / "P1" / "text.jpg").write_text("no picture")
    pictures, _ = list_from_tree(tmp_path)
    several = PictureWorkers(OneFacePerBrightSquare(), reopen=OneFacePerBrightSquare, count=3)
    told = {1: [], 3: []}
    one = collect_faces(pictures, OneFacePerBrightSquare(), embedding_size=4, on_rejection=told[1].append)
    three = collect_faces(
        pictures, OneFacePerBrightSquare(), embedding_size=4, on_rejection=told[3].append, workers=several
    )
    assert one.entries == three.entries and len(one.entries) > 10
    np.testing.assert_array_equal(one.embeddings, three.embeddings)
    assert told[1] == told[3] == list(three.rejections) and {r.reason for r in three.rejections} >= {
        "no_face",
        "several_faces",
        "unreadable",
    }
