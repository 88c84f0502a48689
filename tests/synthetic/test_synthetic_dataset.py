"""Where pictures of a dataset lie, how one person is completed, what resuming accepts, and the metadata's fields."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest

from arcface_paddle import images
from arcface_paddle.data.bin_record import read_bin
from arcface_paddle.errors import ConfigError, DataError
from arcface_paddle.synthetic import assembly, contact_sheet, jobs
from arcface_paddle.synthetic.contact_sheet import write_contact_sheet
from arcface_paddle.synthetic.layout import DatasetSettings, Layout
from arcface_paddle.synthetic.random_streams import stream
from arcface_paddle.synthetic.writer import read_metadata, write_dataset

SETTINGS = DatasetSettings(identities=3, images_per_identity=2, seed=4, size=48, sessions_per_identity=1)
FIELDS = {
    *("path", "label", "image", "session", "crc32", "points", "box_xyxy", "yaw_deg", "pitch_deg", "roll_deg"),
    *("distance_m", "lamp_directions", "lamp_colors", "ambient", "expression", "occluders"),
}


@pytest.fixture(scope="module")
def population():
    return SETTINGS.population()


class FewPixels:
    """A population whose pictures are taken from a list: the files around them are what is tested."""

    def __init__(self, shown):
        self.shown, self.rendered = shown, []

    def render(self, identity, image):
        self.rendered.append((identity, image))
        return replace(self.shown[image % len(self.shown)], label=identity, number=image)


@pytest.fixture(scope="module")
def two_pictures(population):
    return [population.render(0, 0), population.render(0, 1)]


@pytest.fixture
def faces(two_pictures):
    return FewPixels(two_pictures)


@pytest.mark.parametrize(
    ("format_name", "names"),
    [
        ("bin", ["images/00000000.bin", "images/00000003.bin"]),
        ("image", ["images/00000000.jpg", "images/00000003.jpg"]),
        ("folder", ["00000000/00000.jpg", "00000001/00001.jpg"]),
        ("recordio", [".work/pictures/00000000/00000.jpg", ".work/pictures/00000001/00001.jpg"]),
        ("packed", [".work/pictures/00000000/00000.jpg", ".work/pictures/00000001/00001.jpg"]),
    ],
)
def test_names_are_those_that_users_have(tmp_path, format_name, names):
    layout = Layout(tmp_path, replace(SETTINGS, format=format_name))
    assert [layout.name(0, 0), layout.name(1, 1)] == names
    every = {layout.name(identity, image) for identity in range(3) for image in range(2)}
    assert len(every) == 6
    assert not any(tmp_path.iterdir()), "describing a folder touches nothing"


def test_held_out_people_lie_in_the_work_folder_in_every_format(tmp_path):
    for format_name in ("bin", "folder", "packed"):
        layout = Layout(tmp_path, replace(SETTINGS, format=format_name, val_identities=2, val_pairs=4))
        assert not layout.is_held_out(2) and layout.is_held_out(3)
        assert layout.name(3, 1) == ".work/held_out/00000003/00001.jpg"
        assert layout.part(3).parent == layout.work / "parts"


@pytest.mark.parametrize(("format_name", "encoding"), [("bin", "jpg"), ("bin", "png"), ("image", "png")])
def test_what_is_written_is_what_is_read(tmp_path, two_pictures, format_name, encoding):
    layout = Layout(tmp_path, replace(SETTINGS, format=format_name, encoding=encoding))
    content = layout.encode(two_pictures[0].image)
    name = layout.name(1, 0)
    layout.write_picture(name, content)
    assert layout.read_picture(name) == content
    if encoding == "png":
        np.testing.assert_array_equal(images.decode_crop(content), two_pictures[0].image)
    if format_name == "bin":
        assert read_bin(tmp_path / name) == (f"00000002.{encoding}", content), "the key names the picture inside"


def test_completing_a_person_writes_pictures_first_and_the_part_last(tmp_path, faces, monkeypatch):
    layout = Layout(tmp_path, SETTINGS)
    written = []
    original = Layout.write_picture

    def noted(layout, name, content):
        written.append(name)
        original(layout, name, content)

    monkeypatch.setattr(Layout, "write_picture", noted)
    with monkeypatch.context() as broken:
        broken.setattr(jobs.files, "write_text", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            jobs.complete_identity(layout, faces, 1)
    assert written == ["images/00000002.bin", "images/00000003.bin"]
    assert jobs.read_part(layout, 1) is None, "a person without a part is not complete"
    jobs.complete_identity(layout, faces, 1)
    assert len(jobs.read_part(layout, 1)) == 2


def test_a_complete_person_is_not_rendered_again(tmp_path, faces):
    layout = Layout(tmp_path, SETTINGS)
    jobs.complete_identity(layout, faces, 0)
    jobs.complete_identity(layout, faces, 0)
    assert faces.rendered == [(0, 0), (0, 1)]


def damage_flip(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        damage_flip,
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"x" * 99),
    ],
    ids=["one bit", "gone", "empty", "no record"],
)
def test_damaged_pictures_make_a_person_incomplete(tmp_path, faces, damage):
    layout = Layout(tmp_path, SETTINGS)
    jobs.complete_identity(layout, faces, 0)
    whole = (tmp_path / "images/00000001.bin").read_bytes()
    damage(tmp_path / "images/00000001.bin")
    assert jobs.read_part(layout, 0) is None
    with pytest.raises(DataError, match="identity 0 have changed; run again with resume"):
        assembly.entries_of(layout, 0)
    jobs.complete_identity(layout, faces, 0)
    assert (tmp_path / "images/00000001.bin").read_bytes() == whole


def test_part_of_another_number_of_pictures_does_not_count(tmp_path, faces):
    layout = Layout(tmp_path, SETTINGS)
    jobs.complete_identity(layout, faces, 0)
    assert jobs.read_part(Layout(tmp_path, replace(SETTINGS, images_per_identity=3)), 0) is None


def test_metadata_says_everything_about_a_picture(two_pictures):
    shown = two_pictures[1]
    entry = jobs.describe(shown, "images/x.bin", b"content")
    assert set(entry) == FIELDS
    assert json.loads(json.dumps(entry)) == entry, "plain JSON values"
    assert entry["crc32"] == zlib.crc32(b"content") and entry["path"] == "images/x.bin"
    np.testing.assert_allclose(entry["points"], shown.points, atol=6e-4)
    np.testing.assert_allclose(entry["lamp_directions"], shown.lamps.directions, atol=6e-4)
    assert len(entry["ambient"]) == 3 and len(entry["lamp_colors"]) == len(shown.lamps.colors)
    assert (entry["label"], entry["image"], entry["session"]) == (shown.label, 1, shown.session)
    assert (entry["pitch_deg"], entry["roll_deg"]) == (round(shown.pose.pitch_deg, 2), round(shown.pose.roll_deg, 2))


@pytest.mark.parametrize(
    ("format_name", "path"), [("recordio", "train.rec#4"), ("packed", "#3"), ("image", "images/00000003.jpg")]
)
def test_final_metadata_names_what_remains(tmp_path, format_name, path):
    layout = Layout(tmp_path, replace(SETTINGS, format=format_name))
    entry = assembly._final_entry(layout, {"label": 1, "image": 1, "path": layout.name(1, 1), "yaw_deg": 3})
    assert entry == {"label": 1, "image": 1, "path": path, "yaw_deg": 3}


def people_on_days(days):
    return [
        [{"label": label, "image": image, "session": session} for image, session in enumerate(days)]
        for label in range(4)
    ]


def test_genuine_pairs_take_different_days_where_there_are_any():
    rng = stream(0, "pairs")
    for _ in range(60):
        first, second = assembly._draw_pair(rng, people_on_days([0, 0, 1, 2]), same=True)
        assert first["label"] == second["label"] and first["session"] != second["session"]
        one_day = assembly._draw_pair(rng, people_on_days([0, 0, 0]), same=True)
        assert one_day[0]["image"] != one_day[1]["image"], "never a picture with itself"


def test_impostor_pairs_are_of_two_people_and_reach_all():
    rng = stream(0, "pairs")
    pairs = [assembly._draw_pair(rng, people_on_days([0, 1]), same=False) for _ in range(80)]
    assert all(first["label"] != second["label"] for first, second in pairs)
    assert {label for first, second in pairs for label in (first["label"], second["label"])} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identities": 10_000_001}, "identities is 10000001; allowed: 1 to 10000000"),
        ({"images_per_identity": 100_001}, "images_per_identity is 100001"),
        ({"format": "tar"}, "format is 'tar'; allowed: bin, image, folder, recordio, packed"),
        ({"encoding": "bmp"}, "encoding is 'bmp'; allowed: jpg, png"),
        ({"val_identities": 2, "full_frame": True}, "needs aligned crops"),
        ({"val_identities": 1}, "give no pairs"),
        ({"val_identities": 2, "val_pairs": 0}, "val_pairs is 0"),
        ({"sessions_per_identity": 1001}, "sessions_per_identity is 1001; allowed: 1 to 1000"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_settings_say_what_is_wrong(change, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        replace(SETTINGS, **change)


def test_settings_go_through_json():
    settings = replace(SETTINGS, format="packed", val_identities=2, val_pairs=8)
    assert DatasetSettings(**json.loads(json.dumps(settings.as_json()))) == settings


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[1]", r"begun with identities \[1\], not 3"),
        ('{"identities": 9}', "begun with identities 9"),
    ],
)
def test_unreadable_settings_of_an_earlier_run_are_refused(tmp_path, content, message):
    (tmp_path / "synthetic.json").write_text(content)
    with pytest.raises(DataError, match=message):
        write_dataset(tmp_path, SETTINGS, existing="resume")
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic.json"]


@pytest.fixture(scope="module")
def small_set(tmp_path_factory, two_pictures):
    """Return a finished folder dataset of more people and pictures than a contact sheet shows."""
    root = tmp_path_factory.mktemp("sheet") / "set"
    settings = replace(SETTINGS, identities=5, images_per_identity=4, format="folder")
    patch = pytest.MonkeyPatch()
    patch.setattr(DatasetSettings, "population", lambda self: FewPixels(two_pictures))
    try:
        report = write_dataset(root, settings)
    finally:
        patch.undo()
    assert report.pictures == 20
    return root, settings


def test_contact_sheet_shows_the_first_people_a_row_each(small_set, tmp_path, monkeypatch):
    monkeypatch.setattr(contact_sheet, "MAX_ROWS", 3)
    monkeypatch.setattr(contact_sheet, "MAX_COLUMNS", 2)
    root, settings = small_set
    assert write_contact_sheet(tmp_path / "sheet.png", root, settings) == (3, 2)
    sheet = images.load_image(tmp_path / "sheet.png")
    assert sheet.shape == (144, 96, 3)
    for row, column in ((0, 0), (1, 0), (1, 1), (2, 1)):
        content = (root / f"{row:08d}/{column:05d}.jpg").read_bytes()
        shown = sheet[48 * row : 48 * (row + 1), 48 * column : 48 * (column + 1)]
        np.testing.assert_array_equal(shown, images.decode_crop(content))


def test_contact_sheet_of_damaged_pictures_names_them(small_set, tmp_path):
    root, settings = small_set
    picture = root / "00000001" / "00002.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(b"nothing")
    try:
        with pytest.raises((DataError, images.ImageError), match=r"00002\.jpg"):
            write_contact_sheet(tmp_path / "sheet.png", root, settings)
    finally:
        picture.write_bytes(whole)
    assert not (tmp_path / "sheet.png").exists()


def test_metadata_is_in_the_order_of_the_labels_and_broken_lines_are_named(small_set, tmp_path):
    root, settings = small_set
    entries = list(read_metadata(root))
    assert [(entry["label"], entry["image"]) for entry in entries] == [
        (label, image) for label in range(settings.identities) for image in range(settings.images_per_identity)
    ]
    (tmp_path / "metadata.jsonl").write_text('{"path": 1}\nno json\n')
    with pytest.raises(DataError, match=r"metadata\.jsonl: cannot be read"):
        list(read_metadata(tmp_path))
    with pytest.raises(DataError, match="No such file"):
        list(read_metadata(tmp_path / "none"))
