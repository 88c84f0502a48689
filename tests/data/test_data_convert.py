"""Round trips byte for byte, resuming, full disks."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from published_layouts import bin_bytes, face_jpeg, write_bin_set, write_image_set, write_rec_set

from arcface_paddle import files, images
from arcface_paddle.data import open_dataset
from arcface_paddle.data.bin_record import encode_record
from arcface_paddle.data.convert import (
    bins_to_images,
    export_files,
    images_to_bins,
    list_bins,
    list_pictures,
    source_of_bins,
)
from arcface_paddle.data.label_file import write_label_file
from arcface_paddle.data.layouts import convert_dataset
from arcface_paddle.data.packed import PackedDataset, pack_dataset
from arcface_paddle.data.recordio_writing import export_recordio
from arcface_paddle.errors import DataError

LABELS = [0, 0, 1, 2, 2, 2, 4]


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def contents(dataset):
    return [(int(label), dataset.read_encoded(index)) for index, label in enumerate(dataset.labels)]


@pytest.mark.parametrize("key", ["a.jpg", "图.jpg", "x" * 5000])
def test_bin_record_has_the_published_bytes(key):
    for content in (face_jpeg(0), b"", b"x" * 300, bytes(100_000)):
        assert encode_record(key, content) == bin_bytes(key.encode(), content, 5)
    with pytest.raises(DataError, match="5001 bytes is too long"):
        encode_record("x" * 5001, b"")


def test_pictures_to_bins_and_back(tmp_path):
    pictures = {"a.jpg": face_jpeg(0), "deep/er/b.jpg": face_jpeg(1), "deep/c d.jpg": face_jpeg(2) + b"trailing"}
    for name, content in pictures.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in/readme.txt").write_text("ignored")
    report = images_to_bins(list_pictures(tmp_path / "in"), tmp_path / "bins")
    assert (report.written, report.unchanged, report.bad) == (3, 0, ())
    assert tree(tmp_path / "bins")["deep/c d.bin"] == bin_bytes(b"c d.jpg", pictures["deep/c d.jpg"], 5)
    report = bins_to_images(list_bins(tmp_path / "bins"), tmp_path / "out", workers=1)
    assert tree(tmp_path / "out") == pictures and report.written == 3


@pytest.mark.parametrize("name", ["a.bin", "deep/er/A.BIN"])
def test_the_folder_with_bins_is_read(tmp_path, name):
    (tmp_path / "bins" / name).parent.mkdir(parents=True)
    (tmp_path / "bins" / name).write_bytes(b"x")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/.hidden.bin").write_bytes(b"x")
    bins = tmp_path / "bins"
    for other in (tmp_path / "pictures", tmp_path / "new", bins / "pictures", bins):
        assert source_of_bins(bins, other) == source_of_bins(other, bins) == (bins, other)


def test_bins_inside_of_the_folder_of_pictures(tmp_path):
    (tmp_path / "set/bins").mkdir(parents=True)
    (tmp_path / "set/bins/a.bin").write_bytes(b"x")
    (tmp_path / "set/bins2").mkdir()
    assert source_of_bins(tmp_path / "set", tmp_path / "set/bins") == (tmp_path / "set/bins", tmp_path / "set")
    (tmp_path / "set/bins2/a.bin").write_bytes(b"x")
    with pytest.raises(DataError, match=r"set and .*bins both hold \.bin files"):
        source_of_bins(tmp_path / "set", tmp_path / "set/bins")


def test_no_folder_with_bins(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.jpg").write_bytes(face_jpeg(0))
    with pytest.raises(DataError, match=r"neither .*none nor .*a holds a \.bin file"):
        source_of_bins(tmp_path / "a", tmp_path / "none")


def test_suffix_follows_the_content(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.JPEG").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    images_to_bins(list_pictures(tmp_path / "in"), tmp_path / "bins")
    bins_to_images(list_bins(tmp_path / "bins"), tmp_path / "out")
    assert tree(tmp_path / "out") == {"a.png": b"\x89PNG\r\n\x1a\nrest"}


def test_second_run_keeps_what_is_complete(tmp_path):
    write_image_set(tmp_path / "in", [0] * 5)
    images_to_bins(list_pictures(tmp_path / "in"), tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.bin")}
    emptied = tmp_path / "out/images/00000001.bin"
    emptied.write_bytes(b"")
    (tmp_path / "out/images/00000002.bin").unlink()
    report = images_to_bins(list_pictures(tmp_path / "in"), tmp_path / "out")
    assert (report.written, report.unchanged, report.bad) == (2, 3, ())
    kept = tmp_path / "out/images/00000000.bin"
    assert kept.stat().st_mtime_ns == before[kept] and emptied.stat().st_size > 0


def test_bad_inputs_are_left_out_and_named(tmp_path):
    write_image_set(tmp_path / "in", [0] * 3)
    (tmp_path / "in/images/00000001.jpg").write_bytes(b"text")
    (tmp_path / "in/images/00000002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "out/images").mkdir(parents=True)
    (tmp_path / "out/images/00000000.bin").write_bytes(b"somebody's")
    report = images_to_bins(list_pictures(tmp_path / "in"), tmp_path / "out")
    reasons = {Path(path).name: reason for path, reason in report.bad}
    assert set(reasons) == {"00000000.jpg", "00000001.jpg", "00000002.png"} and report.written == 1
    assert "exists with other content" in reasons["00000000.jpg"]
    assert "not a picture" in reasons["00000001.jpg"]
    assert "00000002.jpg becomes the same file" in reasons["00000002.png"]
    assert (tmp_path / "out/images/00000000.bin").read_bytes() == b"somebody's"


def test_links_are_followed_and_other_files_counted(tmp_path):
    write_image_set(tmp_path / "in", [0, 0])
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "in" / "images")
    (tmp_path / "in" / "images" / "circle").symlink_to(tmp_path / "in")
    (tmp_path / "in" / ".hidden.jpg").write_bytes(b"x")
    source = list_pictures(tmp_path / "in")
    assert source.others == ("label.txt",)
    report = images_to_bins(source, tmp_path / "out")
    assert report.written == 4 and (tmp_path / "out/linked/00000001.bin").is_file()


def test_bins_that_become_the_same_picture_are_named(tmp_path):
    write_bin_set(tmp_path, [0])
    (tmp_path / "images/00000000.BIN").write_bytes((tmp_path / "images/00000000.bin").read_bytes())
    report = bins_to_images(list_bins(tmp_path), tmp_path / "out")
    ((path, reason),) = report.bad
    assert report.written == 1 and path.endswith("00000000.bin") and "00000000.BIN becomes the same file" in reason


def test_every_kind_of_picture_comes_back(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    for suffix in images.IMAGE_SUFFIXES - {".gif"}:  # OpenCV cannot write it
        content = cv2.imencode(suffix, pixels[..., 0] if suffix == ".pgm" else pixels)[1].tobytes()
        (tmp_path / "in" / f"{suffix[1:]}{suffix}").write_bytes(content)
    (tmp_path / "in/gif.gif").write_bytes(b"GIF89a and so on")
    images_to_bins(list_pictures(tmp_path / "in"), tmp_path / "bins")
    report = bins_to_images(list_bins(tmp_path / "bins"), tmp_path / "out")
    assert report.written == len(images.IMAGE_SUFFIXES) and not report.bad
    came_back = {path.stem: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert came_back == {path.stem: path.read_bytes() for path in (tmp_path / "in").iterdir()}


def test_file_names_that_are_not_utf_8(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"people/\xe9")).mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (tmp_path / os.fsdecode(b"people/\xe9/\xe8.jpg")).write_bytes(face_jpeg(0))
    report = images_to_bins(list_pictures(tmp_path / "people"), tmp_path / "bins")
    assert report.written == 0 and "not UTF-8" in report.bad[0][1]
    dataset = open_dataset(tmp_path / "people")
    export_recordio(dataset, tmp_path / "rec")
    assert b"\xe9/\xe8.jpg\t0\n" in (tmp_path / "rec/train.lst").read_bytes()
    with pytest.raises(DataError, match="not UTF-8"):
        write_label_file(tmp_path / "label.txt", [(dataset.paths[0], 0)])


def test_damaged_bins_are_left_out_and_named(tmp_path):
    write_bin_set(tmp_path / "in", [0, 1, 2])
    (tmp_path / "in/images/00000000.bin").write_bytes((5001).to_bytes(4, "little") * 3)
    (tmp_path / "in/images/00000001.bin").write_bytes(bin_bytes(b"a", b"text", 4))
    report = bins_to_images(list_bins(tmp_path / "in"), tmp_path / "out")
    assert report.written == 1
    assert [Path(path).name for path, _ in report.bad] == ["00000000.bin", "00000001.bin"]
    assert "key length 5001" in report.bad[0][1] and "not a picture" in report.bad[1][1]
    with pytest.raises(DataError, match=r"no \.bin file"):
        bins_to_images(list_bins(tmp_path / "out"), tmp_path / "other")


WRITERS = {
    "bin": lambda dataset, target: export_files(dataset, target, layout="bin"),
    "image": lambda dataset, target: export_files(dataset, target, layout="image"),
    "folder": lambda dataset, target: export_files(dataset, target, layout="folder"),
    "recordio": export_recordio,
    "packed": lambda dataset, target: pack_dataset(dataset, target, shard_bytes=5000),
}


@pytest.mark.parametrize("first", WRITERS)
@pytest.mark.parametrize("second", WRITERS)
def test_any_layout_to_any_other_and_back_byte_for_byte(tmp_path, first, second):
    write_image_set(tmp_path / "source", LABELS)
    source = open_dataset(tmp_path / "source")
    WRITERS[first](source, tmp_path / "one")
    WRITERS[second](open_dataset(tmp_path / "one"), tmp_path / "two")
    WRITERS[first](open_dataset(tmp_path / "two"), tmp_path / "three")
    assert contents(open_dataset(tmp_path / "two")) == contents(source)
    one, three = tree(tmp_path / "one"), tree(tmp_path / "three")
    one.pop("train.lst", None), three.pop("train.lst", None)  # names the paths it was made from
    assert one == three


def test_recordio_equals_the_independent_writer(tmp_path):
    labels = [0, 0, 1, 2, 2]
    write_rec_set(tmp_path / "theirs", labels)
    export_recordio(open_dataset(tmp_path / "theirs"), tmp_path / "ours")
    theirs = open_dataset(tmp_path / "theirs")
    ours = open_dataset(tmp_path / "ours")
    assert contents(ours) == contents(theirs)
    rec = (tmp_path / "theirs/train.rec").read_bytes()
    # The independent writer puts record 0 first, insightface's tool behind the pictures; the records are the same.
    assert sorted(rec.split(b"\x0a\x23\xd7\xce")) == sorted(
        (tmp_path / "ours/train.rec").read_bytes().split(b"\x0a\x23\xd7\xce")
    )
    assert (tmp_path / "ours/property").read_text() == "3,112,112\n"
    assert len((tmp_path / "ours/train.idx").read_text().splitlines()) == 5 + 1 + 3
    assert (tmp_path / "ours/train.lst").read_text().splitlines()[4].split("\t")[::2] == ["1", "2"]


def test_finished_recordio_is_compared_and_left_alone(tmp_path):
    write_image_set(tmp_path / "source", LABELS)
    export_recordio(open_dataset(tmp_path / "source"), tmp_path / "out")
    before = tree(tmp_path / "out")
    again = export_recordio(open_dataset(tmp_path / "source"), tmp_path / "out")
    assert (again.written, again.unchanged, tree(tmp_path / "out")) == (0, 7, before)
    write_image_set(tmp_path / "grown", [*LABELS, max(LABELS) + 1])
    with pytest.raises(DataError, match=r"train\.rec: holds another dataset \(it differs from offset \d+ on\)"):
        export_recordio(open_dataset(tmp_path / "grown"), tmp_path / "out")
    assert tree(tmp_path / "out") == before
    with (tmp_path / "out/train.rec").open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(DataError, match=f"it differs from offset {len(before['train.rec'])} on"):
        export_recordio(open_dataset(tmp_path / "source"), tmp_path / "out")


@pytest.mark.parametrize("cut", [0, 3, 500, 4000, 10**9])
def test_interrupted_recordio_goes_on(tmp_path, cut):
    write_image_set(tmp_path / "source", LABELS)
    source = open_dataset(tmp_path / "source")
    export_recordio(source, tmp_path / "whole")
    whole = (tmp_path / "whole/train.rec").read_bytes()
    (tmp_path / "again").mkdir()
    (tmp_path / "again/train.rec.partial").write_bytes(whole[:cut] + b"torn")
    report = export_recordio(source, tmp_path / "again")
    assert tree(tmp_path / "again") == tree(tmp_path / "whole")
    offsets = [int(line.split("\t")[1]) for line in (tmp_path / "whole/train.idx").read_text().splitlines()]
    assert report.unchanged == sum(end <= cut for end in offsets[1 : len(LABELS) + 1])
    assert report.written == len(LABELS) - report.unchanged


def test_unreadable_samples_are_left_out_of_every_layout(tmp_path):
    write_image_set(tmp_path / "source", LABELS)
    (tmp_path / "source/images/00000003.jpg").unlink()
    source = open_dataset(tmp_path / "source")
    for name, write in WRITERS.items():
        report = write(source, tmp_path / name)
        assert [path for path, _ in report.bad] == [str(tmp_path / "source/images/00000003.jpg")]
        assert open_dataset(tmp_path / name).labels.tolist() == [0, 0, 1, 2, 2, 4]
    for path in (tmp_path / "source/images").iterdir():
        path.unlink()
    for name, write in WRITERS.items():
        with pytest.raises(DataError, match="none of the 7 samples could be read"):
            write(source, tmp_path / f"nothing_{name}")


def test_packed_shards_are_deterministic_tars(tmp_path):
    pictures = write_image_set(tmp_path / "source", LABELS)
    source = open_dataset(tmp_path / "source")
    for name, workers in [("a", 1), ("b", 4)]:
        pack_dataset(source, tmp_path / name, shard_bytes=5000, workers=workers)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    found = []
    for shard in sorted((tmp_path / "a").glob("*.tar")):
        with tarfile.open(shard) as archive:
            found += [(member.name, archive.extractfile(member).read()) for member in archive]
    assert found == [
        (f"{label:08d}/{index:010d}.jpg", picture) for index, (label, picture) in enumerate(zip(LABELS, pictures))
    ]
    manifest = json.loads((tmp_path / "a/dataset.json").read_text())
    assert manifest["samples"] == 7 and manifest["identities"] == 5 and len(manifest["shards"]) > 2


def test_interrupted_packing_is_usable_and_goes_on(tmp_path):
    write_image_set(tmp_path / "source", LABELS)
    (tmp_path / "source/images/00000001.jpg").unlink()
    source = open_dataset(tmp_path / "source")
    pack_dataset(source, tmp_path / "whole", shard_bytes=5000)
    pack_dataset(source, tmp_path / "part", shard_bytes=5000)
    (tmp_path / "part/dataset.json").unlink()
    shards = sorted((tmp_path / "part").glob("*.npy"))
    for path in shards[2:]:
        path.unlink()
    with pytest.raises(DataError, match=r"2 whole shards are there\. If packing was interrupted, run the same"):
        open_dataset(tmp_path / "part")
    partial = PackedDataset(tmp_path / "part", allow_incomplete=True)
    assert contents(partial) == contents(open_dataset(tmp_path / "whole"))[: len(partial)]
    report = pack_dataset(source, tmp_path / "part", shard_bytes=5000)
    assert report.resumed_samples == len(partial) and report.samples == 6
    assert tree(tmp_path / "part") == tree(tmp_path / "whole")
    again = pack_dataset(source, tmp_path / "part", shard_bytes=5000)
    assert again.resumed_samples == again.samples == 6


def test_packing_another_dataset_into_the_same_folder_is_refused(tmp_path):
    write_image_set(tmp_path / "source", LABELS)
    write_image_set(tmp_path / "other", LABELS, [face_jpeg(100 + number) for number in range(7)])
    pack_dataset(open_dataset(tmp_path / "source"), tmp_path / "packed")
    for manifest_left in (True, False):
        if not manifest_left:
            (tmp_path / "packed/dataset.json").unlink()
        with pytest.raises(DataError, match="shards of another dataset"):
            pack_dataset(open_dataset(tmp_path / "other"), tmp_path / "packed")


def test_damaged_shards_are_named(tmp_path):
    write_image_set(tmp_path / "source", LABELS)
    root = tmp_path / "packed"
    pack_dataset(open_dataset(tmp_path / "source"), root)
    shard = root / "shard-000000.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"shard-000000\.tar: member 00000000/0000000000\.jpg: wrong CRC-32"):
        open_dataset(root)[0]
    open_dataset(root)[1]
    shard.write_bytes(bytes(content[:-10]))
    with pytest.raises(DataError, match=r"shard-000000\.tar: has \d+ bytes, its index says \d+"):
        open_dataset(root)
    shard.unlink()
    with pytest.raises(DataError, match="is missing"):
        open_dataset(root)
    (root / "shard-000000.npy").write_bytes(b"text")
    with pytest.raises(DataError, match=r"shard-000000\.npy: not the index of a shard"):
        open_dataset(root)
    (root / "shard-000000.npy").unlink()
    with pytest.raises(DataError, match=r"shard-000000\.npy: no such file; it is the index of shard-000000\.tar"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, r"not the dataset\.json of packed shards"),
        ({"version": 2}, "version 2; this program reads version 1"),
        ({"identities": "many"}, "identities or the names of the shards are missing"),
        ({"shards": [{"bytes": 1}]}, "identities or the names of the shards are missing"),
        ({"shards": []}, "identities or the names of the shards are missing"),
        ({"samples": 8}, r"7 samples in the shards, 8 in dataset\.json"),
    ],
)
def test_damaged_manifests_are_named(tmp_path, change, message):
    write_image_set(tmp_path / "source", LABELS)
    pack_dataset(open_dataset(tmp_path / "source"), tmp_path / "packed")
    path = tmp_path / "packed/dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "packed")


def test_packing_a_dataset_that_has_grown_is_refused(tmp_path):
    write_image_set(tmp_path / "source", LABELS[:-2])
    pack_dataset(open_dataset(tmp_path / "source"), tmp_path / "packed")
    write_image_set(tmp_path / "grown", LABELS)
    with pytest.raises(DataError, match=r"finished before .*00000005\.jpg was in the dataset; choose an empty folder"):
        pack_dataset(open_dataset(tmp_path / "grown"), tmp_path / "packed")
    for number in (5, 6):
        (tmp_path / f"grown/images/{number:08d}.jpg").write_bytes(b"")
    report = pack_dataset(open_dataset(tmp_path / "grown"), tmp_path / "packed")
    assert report.samples == report.resumed_samples == 5 and len(report.bad) == 2


def test_what_an_earlier_run_could_not_read_is_told_again(tmp_path):
    write_image_set(tmp_path / "source", LABELS)
    missing = tmp_path / "source/images/00000003.jpg"
    content = missing.read_bytes()
    missing.write_bytes(b"")
    assert len(pack_dataset(open_dataset(tmp_path / "source"), tmp_path / "packed").bad) == 1
    missing.write_bytes(content)
    again = pack_dataset(open_dataset(tmp_path / "source"), tmp_path / "packed")
    assert again.samples == again.resumed_samples == len(LABELS) - 1
    [(path, reason)] = again.bad
    assert path.endswith("00000003.jpg") and "an earlier run could not read it; choose an empty folder" in reason


@pytest.mark.parametrize("name", WRITERS)
def test_full_disk_leaves_usable_parts_and_the_next_run_goes_on(tmp_path, name):
    """The first run breaks in the middle with ENOSPC, raised by the system's write; the second completes."""
    write_image_set(tmp_path / "source", LABELS)
    source = open_dataset(tmp_path / "source")
    WRITERS[name](source, tmp_path / "whole")
    target = small_disk(tmp_path)
    if target is None:
        pytest.skip("mounting a tmpfs is not permitted here; the limit on file sizes is tested below")
    try:
        with pytest.raises(DataError, match=r"(?s)cannot be written: .*No space left on device.*goes on where"):
            WRITERS[name](source, target / "out")
        assert not list((target / "out").rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=1m", str(target)], check=True)
        WRITERS[name](source, target / "out")
        assert tree(target / "out") == tree(tmp_path / "whole")
    finally:
        subprocess.run(["umount", str(target)], check=True)


def small_disk(tmp_path):
    """A tmpfs of 12 KB for files, or None if this user may not mount one."""
    target = tmp_path / "disk"
    target.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12k", "tmpfs", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return target if done.returncode == 0 else None


FULL_DISK_PROGRAM = """
import resource, signal, sys
from arcface_paddle import images
from arcface_paddle.data import open_dataset
from arcface_paddle.data.packed import pack_dataset
from arcface_paddle.data.recordio_writing import export_recordio
from arcface_paddle.errors import DataError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
write = {"recordio": export_recordio, "packed": lambda d, t: pack_dataset(d, t, shard_bytes=3000)}[sys.argv[1]]
try:
    write(open_dataset(sys.argv[2]), sys.argv[3])
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
@pytest.mark.parametrize("name", ["recordio", "packed"])
def test_files_that_may_not_grow_are_the_same_as_a_full_disk(tmp_path, name):
    sizes = [0, 0, 0, 0, 9000, 0, 0]
    pictures = [face_jpeg(number) + bytes(extra) for number, extra in enumerate(sizes)]
    write_image_set(tmp_path / "source", LABELS, pictures)
    command = [sys.executable, "-c", FULL_DISK_PROGRAM, name, str(tmp_path / "source"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "cannot be written: File too large" in done.stdout and "goes on where" in done.stdout
    if name == "packed":
        partial = PackedDataset(tmp_path / "out", allow_incomplete=True)
        assert contents(partial) == contents(open_dataset(tmp_path / "source"))[: len(partial)]
    source = open_dataset(tmp_path / "source")
    write = {"recordio": export_recordio, "packed": lambda data, to: pack_dataset(data, to, shard_bytes=3000)}[name]
    write(source, tmp_path / "out")
    write(source, tmp_path / "whole")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_export_never_overwrites_other_files(tmp_path):
    write_image_set(tmp_path / "source", LABELS)
    pictures = write_image_set(tmp_path / "theirs", LABELS, [face_jpeg(50 + number) for number in range(7)])
    with pytest.raises(DataError, match="exists with other content"):
        export_files(open_dataset(tmp_path / "source"), tmp_path / "theirs", layout="image")
    assert [picture for _, picture in contents(open_dataset(tmp_path / "theirs"))] == pictures


@pytest.mark.skipif(os.name == "nt", reason="Windows locks no folders")
@pytest.mark.parametrize("layout", ["folder", "packed", "recordio", "tfrecord"])
def test_two_do_not_write_one_folder(tmp_path, layout):
    write_bin_set(tmp_path / "set", [0, 1, 2])
    dataset = open_dataset(tmp_path / "set")
    (tmp_path / "out").mkdir()
    with files.claimed_folder(tmp_path / "out"):  # as another process does
        with pytest.raises(DataError, match="out: another process is writing into this folder"):
            convert_dataset(dataset, tmp_path / "out", layout=layout)
        assert list((tmp_path / "out").iterdir()) == []
    assert convert_dataset(dataset, tmp_path / "out", layout=layout).written == len(dataset)
