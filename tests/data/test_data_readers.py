"""Every reader on files that an independent writer made."""

import pickle

import numpy as np
import pytest
from published_layouts import (
    bin_bytes,
    face_jpeg,
    ir_header,
    rec_record,
    write_bin_set,
    write_image_set,
    write_rec_set,
)

from arcface_paddle import images
from arcface_paddle.data import DatasetSpec, open_dataset
from arcface_paddle.data.file_dataset import FolderDataset
from arcface_paddle.data.packed import pack_dataset
from arcface_paddle.errors import ConfigError, DataError, ImageError

LABELS = [0, 0, 1, 2, 2, 2, 3]


def check_contract(dataset, pictures, labels):
    assert len(dataset) == len(labels) and dataset.num_classes == max(labels) + 1
    assert dataset.labels.dtype == np.int64 and dataset.labels.tolist() == labels
    for index, picture in enumerate(pictures):
        assert dataset.read_encoded(index) == picture
        image, label = dataset[index]
        assert image.shape == (3, 112, 112) and image.dtype == np.float32 and image.flags["C_CONTIGUOUS"]
        assert label == labels[index] and label.dtype == np.int64
        expected = (images.decode_crop(picture).astype(np.float32) / 255 - 0.5) / 0.5
        np.testing.assert_allclose(image, expected.transpose(2, 0, 1), atol=2e-7)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["auto", "bin"])
def test_bin_set(tmp_path, protocol, kind):
    pictures = write_bin_set(tmp_path / "set", LABELS, protocol)
    dataset = open_dataset(tmp_path / "set", kind=kind)
    check_contract(dataset, pictures, LABELS)
    assert dataset.path_of(3) == str(tmp_path / "set/images/00000003.bin")


@pytest.mark.parametrize("kind", ["auto", "image"])
def test_image_set(tmp_path, kind):
    pictures = write_image_set(tmp_path / "set", LABELS)
    check_contract(open_dataset(DatasetSpec(tmp_path / "set", kind=kind)), pictures, LABELS)


def test_label_file_elsewhere(tmp_path):
    pictures = write_image_set(tmp_path / "set", LABELS)
    (tmp_path / "set/label.txt").rename(tmp_path / "clean.txt")
    check_contract(open_dataset(tmp_path / "set", label_file=tmp_path / "clean.txt"), pictures, LABELS)


def test_folder_per_identity(tmp_path):
    names = ["anna/1.jpg", "anna/2.png", "bob/deep/1.JPG", "陈/1.jpeg"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(face_jpeg(number))
    (tmp_path / "empty").mkdir()
    (tmp_path / "anna/notes.txt").write_text("not a picture")
    dataset = open_dataset(tmp_path)
    check_contract(dataset, [face_jpeg(number) for number in range(4)], [0, 0, 1, 2])
    assert dataset.class_names == ["anna", "bob", "陈"]
    assert dataset.path_of(3) == str(tmp_path / "陈/1.jpeg")


def test_folder_with_links_and_hidden_files(tmp_path):
    root = tmp_path / "people"
    for name in ("anna/0.jpg", "anna/.thumbnails/0.jpg", ".trash/0.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(face_jpeg(0))
    (root / "anna/._0.jpg").write_bytes(b"what macOS leaves in archives")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/1.jpg").write_bytes(face_jpeg(1))
    (root / "bert").symlink_to(tmp_path / "elsewhere")
    (root / "anna/up").symlink_to(root)  # in circles
    (root / "anna/itself").symlink_to("itself")
    (root / "again").symlink_to(root)
    dataset = open_dataset(root)
    assert dataset.class_names == ["anna", "bert"]
    assert [dataset.paths[index] for index in range(len(dataset))] == ["anna/0.jpg", "bert/1.jpg"]


@pytest.mark.parametrize(("name", "message"), [("none", "no such folder"), ("file", "is a file")])
def test_folder_that_is_none(tmp_path, name, message):
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / name, kind="folder")


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "headers"])
@pytest.mark.parametrize("index", [True, False], ids=["idx", "scan"])
@pytest.mark.parametrize("image_labels", [None, lambda label: [label, 7.0]], ids=["one", "several"])
def test_recordio(tmp_path, ranges, index, image_labels):
    pictures = write_rec_set(tmp_path / "set", LABELS, ranges=ranges, index=index, image_labels=image_labels)
    check_contract(open_dataset(tmp_path / "set"), pictures, LABELS)
    check_contract(open_dataset(tmp_path / "set/train.rec"), pictures, LABELS)


def test_recordio_joins_records_that_hold_the_magic(tmp_path):
    magic = (0xCED7230A).to_bytes(4, "little")
    pictures = [magic + b"ab" + magic * 3 + b"tail", b"xyz" + magic, face_jpeg(1) + magic * 2, magic]
    write_rec_set(tmp_path / "set", [0, 0, 1, 1], pictures)
    content = (tmp_path / "set/train.rec").read_bytes()
    assert (1 << 29).to_bytes(4, "little")[3] in content  # there are cut records
    for index in (True, False):
        if not index:
            (tmp_path / "set/train.idx").unlink()
        dataset = open_dataset(tmp_path / "set")
        assert [dataset.read_encoded(place) for place in range(4)] == pictures


def test_recordio_labels_that_disagree_with_ranges_come_from_the_headers(tmp_path):
    write_rec_set(tmp_path / "set", [0, 0, 1], image_labels=lambda label: [3, 1][label])
    (tmp_path / "set/property").unlink()
    assert open_dataset(tmp_path / "set").labels.tolist() == [3, 3, 1]


@pytest.mark.parametrize(
    "records",
    [
        {0: [float("nan"), 5]},
        {0: [4, float("inf")]},
        {0: [4, 3e38]},
        {4: [1, 3e15]},
        {4: [-1, 3]},
        {4: [1, 3], 5: [1, 2]},  # the first picture twice, the last one never
    ],
)
def test_recordio_with_senseless_ranges_is_read_by_its_headers(tmp_path, records):
    pictures = write_rec_set(tmp_path, [0, 0, 1])
    content, lines = b"", []
    for key in range(6):
        ranges = {0: [4, 6], 4: [1, 3], 5: [3, 4], **records}
        payload = ir_header(ranges[key], key) if key in ranges else ir_header(key // 3, key) + pictures[key - 1]
        lines.append(f"{key}\t{len(content)}\n")
        content += rec_record(payload)
    (tmp_path / "train.rec").write_bytes(content)
    (tmp_path / "train.idx").write_text("".join(lines))
    check_contract(open_dataset(tmp_path), pictures, [0, 0, 1])


def test_packed(tmp_path):
    pictures = write_image_set(tmp_path / "set", LABELS)
    pack_dataset(open_dataset(tmp_path / "set"), tmp_path / "packed", shard_bytes=6000)
    assert len(list((tmp_path / "packed").glob("*.tar"))) > 1
    check_contract(open_dataset(tmp_path / "packed"), pictures, LABELS)


def test_other_sizes_are_resized_and_counted(tmp_path):
    write_image_set(tmp_path / "set", [0, 0, 1], [face_jpeg(0), face_jpeg(1, side=160), face_jpeg(2, side=100)])
    dataset = open_dataset(tmp_path / "set")
    assert [dataset[index][0].shape for index in range(3)] == [(3, 112, 112)] * 3
    assert dataset.resized_count == 2
    assert open_dataset(tmp_path / "set", image_size=96)[0][0].shape == (3, 96, 96)


def test_num_classes(tmp_path):
    write_image_set(tmp_path / "set", [0, 5])
    assert open_dataset(tmp_path / "set").num_classes == 6
    assert open_dataset(tmp_path / "set", num_classes=10).num_classes == 10
    with pytest.raises(DataError, match="sample 1 has label 5, but num_classes is 5"):
        open_dataset(tmp_path / "set", num_classes=5)


def test_unknown_layouts(tmp_path):
    with pytest.raises(ConfigError, match="'zip'; allowed: auto, bin"):
        open_dataset(tmp_path, kind="zip")
    with pytest.raises(DataError, match="no dataset found"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        open_dataset(tmp_path / "nothing")
    (tmp_path / "person").mkdir()
    with pytest.raises(DataError, match="no identities"):
        open_dataset(tmp_path)


def read_first_error(root):
    with pytest.raises((DataError, ImageError)) as caught:
        open_dataset(root)[0]
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\5\0", "truncated record: 2 bytes end in the key length at offset 0"),
        (b"", "the file is empty"),
        ((5001).to_bytes(4, "little") + bytes(6000), "key length 5001 at offset 0; allowed: 5000"),
        (bin_bytes(b"a.jpg", face_jpeg(0), 4)[:-10], "truncated record: the value at offset 13 needs"),
        (bin_bytes(b"a.jpg", face_jpeg(0), 4)[:12], "truncated record: 12 bytes end in the value length"),
        (bin_bytes(b"\xff\xfe", face_jpeg(0), 4), "is not UTF-8"),
        (bin_bytes(b"a.jpg", [b"list"], 4), "is not part of one bytes object"),
        (bin_bytes(b"a.jpg", np.zeros(4, np.uint8), 4), "is not part of one bytes object"),
        (bin_bytes(b"a.jpg", b"not an image", 4), "not a picture"),
        (bin_bytes(b"a.jpg", face_jpeg(0)[:-100], 4), "truncated JPEG"),
    ],
)
def test_damaged_bin_files_are_named(tmp_path, content, message):
    write_bin_set(tmp_path, [0, 1])
    (tmp_path / "images/00000000.bin").write_bytes(content)
    error = read_first_error(tmp_path)
    assert message in error and str(tmp_path / "images/00000000.bin") in error


def test_second_record_of_a_bin_is_ignored(tmp_path):
    write_bin_set(tmp_path, [0])
    path = tmp_path / "images/00000000.bin"
    path.write_bytes(path.read_bytes() + bin_bytes(b"other.jpg", b"other", 4))
    assert open_dataset(tmp_path).read_encoded(0) == face_jpeg(0)


def test_missing_and_wrong_picture_files_are_named(tmp_path):
    write_image_set(tmp_path, [0, 1])
    path = tmp_path / "images/00000000.jpg"
    path.write_bytes(b"text")
    assert f"{path}: not a picture" in read_first_error(tmp_path)
    path.unlink()
    assert f"{path}: no such file" in read_first_error(tmp_path)


@pytest.mark.parametrize("index", [True, False], ids=["idx", "scan"])
def test_recordio_with_wrong_magic_or_truncated(tmp_path, index):
    write_rec_set(tmp_path, [0, 0, 1], index=index)
    path = tmp_path / "train.rec"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(DataError, match=r"train\.(rec|idx): .*(truncated|100 bytes)"):
        open_dataset(tmp_path)
    path.write_bytes(b"RIFF" + whole[4:])
    with pytest.raises(DataError, match=r"magic 0x46464952 at offset 0, expected 0xced7230a"):
        open_dataset(tmp_path)


def test_recordio_damaged_inside(tmp_path):
    write_rec_set(tmp_path, [0, 1, 2])
    path = tmp_path / "train.rec"
    content = bytearray(path.read_bytes())
    offset = int((tmp_path / "train.idx").read_text().splitlines()[2].split("\t")[1])
    dataset = open_dataset(tmp_path)
    content[offset] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=rf"train\.rec: magic 0x[0-9a-f]+ at offset {offset}"):
        dataset[1]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.idx", "0\t0\n1\tx\n", r"train\.idx:2: .* is not key<TAB>offset"),
        ("train.idx", "0\t0\n1 5 7\n", r"train\.idx:2"),
        ("train.idx", "", "index is empty"),
        ("train.idx", "0\t0\n0\t0\n", "same key"),
        ("train.idx", "0\t99999999\n", "has .* bytes"),
        ("property", "many,112,112", "identities,height,width"),
        ("property", "2,112,112", "names 2 identities, but label 2 occurs in the records; write 3 there"),
    ],
)
def test_recordio_wrong_side_files(tmp_path, name, content, message):
    write_rec_set(tmp_path, [0, 1, 2])
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path)


@pytest.mark.parametrize("label", [-1.0, 0.5, float("nan"), float("inf"), 2.0**31])
def test_recordio_wrong_labels(tmp_path, label):
    write_rec_set(tmp_path, [0], image_labels=lambda _: label, ranges=False)
    with pytest.raises(DataError, match=r"record 1 at offset 0 has label"):
        open_dataset(tmp_path)


def test_a_folder_with_several_rec_files_asks_which(tmp_path):
    write_rec_set(tmp_path / "set", [0, 1])
    (tmp_path / "set/train.rec").rename(tmp_path / "set/a.rec")
    (tmp_path / "set/b.rec").write_bytes(b"")
    with pytest.raises(DataError, match=r"found a\.rec, b\.rec"):
        open_dataset(tmp_path / "set")


@pytest.mark.parametrize("kind", ["bin", "image"])
@pytest.mark.parametrize(
    ("on_disk", "listed"),
    [
        ("Jose\u0301/Jose\u0301 1", "Jos\u00e9/Jos\u00e9 1"),
        ("Jos\u00e9/Jos\u00e9 1", "Jose\u0301/Jose\u0301 1"),
        ("people/1", ".\\people\\1"),
        ("people/1", "people\\1"),
        ("Jose\u0301/1", ".\\Jos\u00e9\\1"),
    ],
    ids=["from-a-mac", "to-a-mac", "dot-of-windows", "windows", "both"],
)
def test_files_whose_names_a_list_spells_in_another_way(tmp_path, kind, on_disk, listed):
    suffix = ".bin" if kind == "bin" else ".jpg"
    file = tmp_path / f"{on_disk}{suffix}"
    file.parent.mkdir()
    file.write_bytes(bin_bytes(b"1.jpg", face_jpeg(0), 4) if kind == "bin" else face_jpeg(0))
    (tmp_path / "label.txt").write_text(f"{listed}{suffix}\t0\n{listed} none{suffix}\t1\n", encoding="utf-8")
    dataset = open_dataset(tmp_path, kind=kind)
    assert dataset.read_encoded(0) == face_jpeg(0)
    # What is really missing is named as the list names it.
    missing = f"{dataset.root}/{listed} none{suffix}"
    assert dataset.path_of(1) == missing
    with pytest.raises(DataError) as caught:
        dataset.read_encoded(1)
    assert str(caught.value) == f"{missing}: no such file"


def test_no_name_is_looked_for_before_it_is_missed(tmp_path, monkeypatch):
    write_image_set(tmp_path, LABELS)
    looked_for = []
    monkeypatch.setattr("arcface_paddle.pipeline.file_names.FileFinder.find", lambda *found: looked_for.append(found))
    dataset = open_dataset(tmp_path)
    assert [dataset.read_encoded(index) for index in range(len(LABELS))] and looked_for == []


def test_damaged_files_under_another_spelling_are_named(tmp_path):
    (tmp_path / "people").mkdir()
    (tmp_path / "people/1.bin").write_bytes(b"12345")
    (tmp_path / "people/2.bin").write_bytes(b"")
    (tmp_path / "label.txt").write_text("people\\1.bin\t0\npeople\\2.bin\t0\n")
    dataset = open_dataset(tmp_path)
    with pytest.raises(DataError, match=r"people/1\.bin: key length"):
        dataset.read_encoded(0)
    with pytest.raises(DataError, match=r"people/2\.bin: the file is empty"):
        dataset.read_encoded(1)


SYSTEM_FOLDERS = [
    "#recycle",
    "@eaDir",
    "$RECYCLE.BIN",
    "lost+found",
    "__MACOSX",
    ".thumbnails",
    "System Volume Information",
]


@pytest.mark.parametrize("name", SYSTEM_FOLDERS)
def test_folders_of_systems_are_nobody(tmp_path, name):
    for folder in ("anna", f"anna/{name}", name, f"{name}/anna"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "1.jpg").write_bytes(face_jpeg(0))
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ["anna"] and len(dataset) == 1
    assert dataset.passed_over == (() if name.startswith(".") else (name,))
    (tmp_path / "empty" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="no dataset found"):
        open_dataset(tmp_path / "empty")


def test_folders_whose_pictures_are_known(tmp_path):
    write_image_set(tmp_path, LABELS)
    names = ["images/00000003.jpg", "bert/2.jpg", "images/00000001.jpg", "alone.jpg"]
    dataset = FolderDataset(tmp_path, pictures=names)
    assert dataset.class_names == ["bert", "images"] and dataset.labels.tolist() == [0, 1, 1]
    assert [dataset.paths[index] for index in range(3)] == ["bert/2.jpg", "images/00000003.jpg", "images/00000001.jpg"]
    with pytest.raises(DataError, match="no identities"):
        FolderDataset(tmp_path, pictures=["alone.jpg"])
