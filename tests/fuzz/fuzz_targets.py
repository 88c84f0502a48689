"""The parsers under attack, one target each: what it reads, sound inputs to begin with, and the call that reads it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import zipfile
from functools import cache
from pathlib import Path
from typing import Any, Callable

import fuzz_border_targets
import fuzz_data_targets
import fuzz_library_targets
import fuzz_request_target
import fuzz_run_targets
import fuzz_seeds as seeds
import fuzz_service_targets
from fuzz_target import Parse, Target, of_content, of_file

from arcface_paddle import images, safe_pickle, weight_files
from arcface_paddle.errors import ArcfaceError
from arcface_paddle.pipeline.gallery import Gallery

_MODELS = Path(__file__).parents[2] / "inference_model"
_MOST_PIXELS = 4_000_000  # what decoding honestly needs stays far below the limit on memory


# pictures and data sets


def _labels(path: Path) -> None:
    from arcface_paddle.data.label_file import read_label_file

    found = read_label_file(path)
    [found.paths[index] for index in range(len(found.paths))]


def _all_samples(dataset: Any) -> None:
    for index in range(min(len(dataset), 20)):
        dataset.path_of(index)
        try:
            dataset.read_encoded(index)
        except ArcfaceError:  # one bad sample is told when it is read
            continue


def _label_folder(content: bytes, folder: Path) -> Parse:
    from arcface_paddle.data.kinds import open_dataset

    (folder / "1.bin").write_bytes(seeds.bin_records()[0])
    (folder / "label.txt").write_bytes(content)
    return lambda: _all_samples(open_dataset(folder))


def _recordio(path: Path) -> None:
    from arcface_paddle.data.recordio_dataset import RecordIODataset

    _all_samples(RecordIODataset(path))


def _recordio_index(content: bytes, folder: Path) -> Parse:
    (folder / "train.rec").write_bytes(seeds.records()[0])
    (folder / "train.idx").write_bytes(content)
    return lambda: _recordio(folder / "train.rec")


def _recordio_property(content: bytes, folder: Path) -> Parse:
    (folder / "train.rec").write_bytes(seeds.records()[0])
    (folder / "property").write_bytes(content)
    return lambda: _recordio(folder / "train.rec")


def _tfrecord(path: Path) -> None:
    from arcface_paddle.data.tfrecord_dataset import TFRecordDataset

    _all_samples(TFRecordDataset(path))


def _tfrecord_indexes() -> list[bytes]:

    with tempfile.TemporaryDirectory() as folder:
        _tfrecord_shard(Path(folder))
        _tfrecord(Path(folder) / "a.tfrecord")
        return [(Path(folder) / "a.tfrecord.index.npy").read_bytes()]


def _tfrecord_shard(folder: Path) -> None:
    """Write the sound file, of a fixed time, which its index names."""
    (folder / "a.tfrecord").write_bytes(seeds.tfrecords()[0])
    os.utime(folder / "a.tfrecord", (1_700_000_000, 1_700_000_000))


def _tfrecord_index(content: bytes, folder: Path) -> Parse:
    _tfrecord_shard(folder)
    (folder / "a.tfrecord.index.npy").write_bytes(content)
    return lambda: _tfrecord(folder / "a.tfrecord")


def _verification(path: Path) -> None:
    from arcface_paddle.data.verification_set import read_verification_set

    found = read_verification_set(path)
    for index in range(min(len(found.images), 4)):
        found.decode(index)


@cache
def _packed_files() -> dict[str, bytes]:

    from arcface_paddle.data.kinds import open_dataset
    from arcface_paddle.data.packed import pack_dataset

    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "source", Path(name) / "target"
        source.mkdir()
        (source / "1.bin").write_bytes(seeds.bin_records()[0])
        (source / "label.txt").write_text("1.bin\t0\n1.bin\t1\n")
        pack_dataset(open_dataset(source), target)
        return {path.name: path.read_bytes() for path in target.iterdir()}


def _packed(part: str) -> Target:
    """Return the target of one of the files of packed shards, those that end in ``part``."""

    def own(name: str) -> bool:
        return name.endswith(part)

    def prepare(content: bytes, folder: Path) -> Parse:
        from arcface_paddle.data.packed import PackedDataset

        for name, sound in _packed_files().items():
            (folder / name).write_bytes(content if own(name) else sound)
        return lambda: _all_samples(PackedDataset(folder))

    label = part.lstrip(".").replace(".", "_")
    return Target(f"packed_{label}", lambda: [text for name, text in _packed_files().items() if own(name)], prepare)


@cache
def _carray_files() -> dict[str, bytes]:
    root = seeds.FIXTURES / "bcolz"
    paths = [root / "lfw_list.npy", *(path for path in sorted((root / "lfw").rglob("*")) if path.is_file())]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def _carray(part: str) -> Target:
    """Return the target of one of the files of a bcolz set of the fixtures."""

    def prepare(content: bytes, folder: Path) -> Parse:
        from arcface_paddle.data.carray_set import read_carray_set

        for name, text in {**_carray_files(), part: content}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)

        def parse() -> None:
            found = read_carray_set(folder / "lfw")
            found.decode(0)

        return parse

    name = Path(part).name.split(".")[0].replace("__", "")
    return Target(f"bcolz_{name}", lambda: [_carray_files()[part]], prepare)


def _pairs(path: Path) -> None:
    from arcface_paddle.data.pairs import read_pair_list

    read_pair_list(path)


# models


def _card(content: bytes) -> None:
    from arcface_paddle.pipeline.cards import card_from_document

    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return  # what is no JSON at all is the business of model_json
    card_from_document(document, name="model.json")


def _card_file(path: Path) -> None:
    from arcface_paddle.pipeline.cards import read_card

    read_card(path)


def _cards() -> list[bytes]:
    return [path.read_bytes() for path in sorted(_MODELS.glob("*/model.json"))]


def _shipped(name: str, *, most: int) -> Callable[[], list[bytes]]:
    def read() -> list[bytes]:
        return [(_MODELS / "FaceRefiner" / name).read_bytes()[:most]]

    return read


def _graph(path: Path) -> None:
    from arcface_paddle.pipeline.graph_checks import check_graph

    check_graph(path)


def _weights(path: Path) -> None:
    from arcface_paddle.pipeline.graph_checks import check_weights

    check_weights(path)


def _archive(content: bytes, folder: Path) -> Parse:
    from arcface_paddle.pipeline import fetching

    target = folder / "out"
    target.mkdir()

    def parse() -> None:
        fetching._extract(io.BytesIO(content), _Sink(target), expected=("a.json", "b.bin"), url="u")  # type: ignore[arg-type]

    return parse


class _Sink:
    """A folder in memory: the archive's target may be written, and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __truediv__(self, name: str) -> _Sink:
        assert name in ("a.json", "b.bin")
        return self

    def open(self, mode: str) -> io.BytesIO:
        return io.BytesIO()


def _archives() -> list[bytes]:
    members = {"x/a.json": b"{}", "x/b.bin": b"12345" * 30}
    return [seeds.tar(members, mode=mode) for mode in ("w", "w:gz", "w:bz2", "w:xz")]


def _torch(path: Path) -> None:
    from arcface_paddle.export.importing.torch_file import read_torch_file

    read_torch_file(path)


def _torch_seeds() -> list[bytes]:
    return [(seeds.FIXTURES / "torch" / name).read_bytes() for name in ("tiny.pt", "tiny_legacy.pt")]


# galleries and embeddings


def _search(path: Path) -> None:
    """Load a gallery, save what was loaded, and ask it: what loads must be usable."""
    gallery = Gallery.load(path)
    gallery.table()
    if len(gallery):
        gallery.search(gallery.embeddings[:1], 1)
    header = [entry.name.encode("utf-8", "surrogatepass") for entry in gallery.entries]
    assert len(header) == len(gallery)


def _gallery_member(member: str) -> Target:
    """Return the target of one part of a gallery file, packed again with a right checksum."""

    def prepare(content: bytes, folder: Path) -> Parse:
        path = folder / "g.index"
        path.write_bytes(seeds.zipped({**seeds.gallery_members(), member: content}))
        return lambda: _search(path)

    return Target(f"gallery_{member.split('.')[0]}", lambda: [seeds.gallery_members()[member]], prepare)


def _column(member: str) -> Target:
    """Return the target of one array of a large gallery's entries, packed again with a right checksum."""

    def prepare(content: bytes, folder: Path) -> Parse:
        path = folder / "g.index"
        path.write_bytes(seeds.zipped({**seeds.large_gallery_members(), member: content}))
        return lambda: _search(path)

    return Target(f"gallery_{member.split('.')[0]}", lambda: [seeds.large_gallery_members()[member]], prepare)


def _sealed(content: bytes, folder: Path) -> Parse:
    path = folder / "g.index"
    path.write_bytes(content)

    def parse() -> None:
        with seeds.gallery_key():
            _search(path)

    return parse


def _gallery_saved(content: bytes, folder: Path) -> Parse:
    """A header whose gallery loads can be saved, and loads again as the same."""
    path = folder / "g.index"
    path.write_bytes(seeds.zipped({**seeds.gallery_members(), "gallery.json": content}))
    try:
        gallery = Gallery.load(path)
    except ArcfaceError:
        return lambda: None
    gallery.save(folder / "again.index")
    again = Gallery.load(folder / "again.index")
    assert [entry.name for entry in again.entries] == [entry.name for entry in gallery.entries]
    return lambda: None


def _compressed_galleries() -> list[bytes]:
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    return [seeds.gallery(), *(seeds.zipped(seeds.gallery_members(), compression=kind) for kind in kinds)]


def _journal(content: bytes, folder: Path) -> Parse:
    path = folder / "g.index"
    path.write_bytes(seeds.gallery())
    (folder / "g.index.journal").write_bytes(content)
    return lambda: _search(path)


@cache
def _journals() -> tuple[bytes, ...]:
    from arcface_paddle.pipeline.gallery import documents, journal, storage
    from arcface_paddle.pipeline.gallery.entries import GalleryEntry

    with tempfile.TemporaryFile() as file:
        file.write(seeds.gallery())
        head = journal._MAGIC + storage.read(file, name="g").fingerprint
    added = {"step": "add", "entries": [documents.json_of_entry(GalleryEntry(name="c", path="c.jpg"))]}
    renamed = {"step": "rename", "name": "c", "new_name": "d"}
    change = journal.Record([added, renamed], seeds.unit(1, 8))
    record = journal.encode(change, offset=journal.HEAD_BYTES, cipher=None)
    return head + record, head + record + record[:20], head


def _published(content: bytes, folder: Path) -> Parse:
    path = folder / "index.bin"
    path.write_bytes(content)
    return lambda: _search(path)


def _gallery_labels(content: bytes, folder: Path) -> Parse:
    from arcface_paddle.pipeline.gallery.pictures import list_from_label_file

    (folder / "label.txt").write_bytes(content)
    return lambda: list_from_label_file(folder / "label.txt", image_folder=folder)


def _hdf5_seeds() -> list[bytes]:
    import h5py
    import numpy as np

    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        for name in ("甲", "b"):
            file.create_group(name)["embedding"] = seeds.unit(1, 8)[0]
        file["b"].attrs["person"] = np.bytes_(b"b/c")
    return [stream.getvalue()]


def _parquet_seeds() -> list[bytes]:

    from arcface_paddle.pipeline.gallery.entries import GalleryEntry

    table = Gallery([GalleryEntry(name="a", path="a.jpg")], seeds.unit(1, 8)).table()
    from arcface_paddle.pipeline.embedding_files import write_embeddings

    with tempfile.TemporaryDirectory() as folder:
        write_embeddings(Path(folder) / "f.parquet", table)
        return [(Path(folder) / "f.parquet").read_bytes()]


def _shard_index(content: bytes, folder: Path) -> Parse:
    from arcface_paddle.pipeline.embedding_shards import ShardedEmbeddings, index_path_of

    index_path_of(folder / "f.parquet").write_bytes(content)
    shards = ShardedEmbeddings(folder / "f.parquet", shard_size=2, facts={"model": "m"})
    return lambda: shards.resume([])


def _shard_indexes() -> list[bytes]:
    shard = {"file": "", "pictures": 0, "pictures_sha256": hashlib.sha256().hexdigest(), "embeddings": 0, "encoded": 0}
    return [seeds.json_bytes({"format": 1, "shard_size": 2, "model": "m", "shards": [shard]})]


# training and evaluation


def _yaml(path: Path) -> None:
    from arcface_paddle.training.config import load_config

    load_config(path)


def _recipes() -> list[bytes]:
    root = Path(__file__).parents[2] / "configs"
    return [path.read_bytes() for path in sorted(root.glob("*.yaml"))[::4]]


@cache
def _checkpoint_files() -> dict[str, bytes]:

    from arcface_paddle.training import checkpoint
    from arcface_paddle.training.state import LoopState

    shard = checkpoint.ClassifierShard(0, seeds.array(6, 4), seeds.array(6, 4))
    snapshot = checkpoint.Snapshot(
        identity=_run_identity(),
        state=LoopState(step=3, epoch=1, sample=9, seed=5, highest={"lfw": 0.5}, scaler={"scale": 2.0}),
        backbone={"conv.weight": seeds.array(3, 2)},
        backbone_momentum={"conv.weight": seeds.array(3, 2)},
        shard=shard,
    )
    with tempfile.TemporaryDirectory() as output:
        folder = checkpoint.save_checkpoint(output, snapshot, keep_last=1)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def _run_identity() -> Any:
    from arcface_paddle.training.checkpoint import RunIdentity

    return RunIdentity(network="net", embedding_size=4, num_classes=6, global_batch=8, epoch_images=100)


def _checkpoint(part: str, *, listed: bool) -> Target:
    """Return the target of a file of a checkpoint; ``listed``: the manifest vouches for it as it is."""

    def prepare(content: bytes, folder: Path) -> Parse:
        from arcface_paddle.training.checkpoint import checkpoint_root
        from arcface_paddle.training.restore import RowRange, restore

        step = checkpoint_root(folder) / "step_00000003"
        step.mkdir(parents=True)
        written = {**_checkpoint_files(), part: content}
        if listed:
            manifest = json.loads(written["manifest.json"])
            manifest["files"][part] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            written["manifest.json"] = seeds.json_bytes(manifest)
        for name, text in written.items():
            (step / name).write_bytes(text)
        return lambda: restore(folder, _run_identity(), RowRange(0, 6), say=lambda _: None)

    name = f"checkpoint_{part.split('.')[0].replace(':', '_')}"
    return Target(name, lambda: [_checkpoint_files()[part]], prepare)


def _published_run(content: bytes, folder: Path) -> Parse:
    """Take up a run of the published trainer, one of whose shards is the input."""
    from arcface_paddle.training.restore import RowRange, restore

    sound = _checkpoint_files()
    (folder / "net.pdparams").write_bytes(sound["net.pdparams"])
    (folder / "rank:0_softmax_weight.pkl").write_bytes(content)
    (folder / "rank:0_softmax_weight_mom.pkl").write_bytes(sound["rank_0_softmax_weight_mom.pkl"])
    return lambda: restore(folder, _run_identity(), RowRange(0, 6), say=lambda _: None)


_IJB_FILES = {
    "ijbc_face_tid_mid.txt": b"1.jpg 1 101\n2.jpg 1 101\n3.jpg 4 102\n",
    "ijbc_name_5pts_score.txt": b"".join(b"%d.jpg 1 2 3 4 5 6 7 8 9 10 .5\n" % n for n in (1, 2, 3)),
    "ijbc_template_pair_label.txt": b"1 4 0\n1 1 1\n",
    "ijbc_1N_gallery_G1.csv": b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,0,frames/1.jpg\n",
    "ijbc_1N_gallery_G2.csv": b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n4,1,frames/3.jpg\n",
    "ijbc_1N_probe_mixed.csv": b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n1,0,frames/2.jpg\n4,1,frames/3.jpg\n",
}


def _ijb(part: str) -> Target:
    def prepare(content: bytes, folder: Path) -> Parse:
        from arcface_paddle.evaluation.ijb_files import read_ijb

        (folder / "meta").mkdir()
        (folder / "loose_crop").mkdir()
        for name, text in {**_IJB_FILES, part: content}.items():
            (folder / "meta" / name).write_bytes(text)
        return lambda: read_ijb(folder)

    name = part.split("_", 1)[1].split(".")[0].lower()
    return Target(f"ijb_{name}", lambda: [_IJB_FILES[part]], prepare)


def _bin_record(content: bytes) -> None:
    from arcface_paddle.data.bin_record import decode_records

    for _, picture in decode_records(content, name="1.bin"):
        images.decode_crop(picture, name="1.bin")


TARGETS = {
    target.name: target
    for target in (
        *fuzz_library_targets.TARGETS,
        *fuzz_service_targets.TARGETS,
        *fuzz_run_targets.TARGETS,
        *fuzz_border_targets.TARGETS,
        *fuzz_request_target.TARGETS,
        *fuzz_data_targets.TARGETS,
        Target(
            "picture",
            lambda: list(seeds.pictures()),
            of_content(lambda content: images.decode_image(content, name="a.jpg", max_pixels=_MOST_PIXELS)),
        ),
        Target("crop", lambda: list(seeds.pictures()), of_content(images.decode_crop)),
        Target("bin_record", seeds.bin_records, of_content(_bin_record)),
        Target("label_file", lambda: [b"1.bin\t0\n2.bin\t1\n", "甲/1.jpg 3\n".encode()], of_file("label.txt", _labels)),
        Target("label_set", lambda: [b"1.bin\t0\n1.bin\t1\n"], _label_folder),
        Target(
            "pairs", lambda: [b"a.jpg b.jpg 1\n", b"1\t2\nAbel\t1\t2\nAbel\t1\tBert\t3\n"], of_file("p.txt", _pairs)
        ),
        Target("recordio", seeds.records, of_file("train.rec", _recordio)),
        Target("recordio_index", seeds.record_indexes, _recordio_index),
        Target("recordio_property", lambda: [b"4,112,112", b"9"], _recordio_property),
        Target("tfrecord", seeds.tfrecords, of_file("a.tfrecord", _tfrecord), may_write=".index.npy"),
        Target("tfrecord_index", _tfrecord_indexes, _tfrecord_index, may_write=".index.npy"),
        Target("verification", seeds.verification_sets, of_file("lfw.bin", _verification)),
        _packed(".json"),
        _packed(".tar"),
        _packed(".npy"),
        _carray("lfw/meta/sizes"),
        _carray("lfw/meta/storage"),
        _carray("lfw/data/__0.blp"),
        _carray("lfw_list.npy"),
        Target(
            "pickled_arrays", seeds.pickled_arrays, of_content(lambda text: safe_pickle.load_arrays(text, name="p"))
        ),
        Target("pdparams", seeds.state_dicts, of_content(lambda text: weight_files.parse_state_dict(text, name="p"))),
        Target("pdparams_part", seeds.parameters, of_file("w", weight_files.read_parameter)),
        Target("torch", _torch_seeds, of_file("a.pt", _torch)),
        Target("card", _cards, of_content(_card)),
        Target("model_json", _cards, of_file("model.json", _card_file)),
        Target("graph_pdmodel", _shipped("inference.pdmodel", most=20_000), of_file("inference.pdmodel", _graph)),
        Target("graph_json", lambda: [b'{"base_code": {"magic": "pir"}, "program": {}}'], of_file("i.json", _graph)),
        Target("graph_weights", _shipped("inference.pdiparams", most=9_000), of_file("i.pdiparams", _weights)),
        Target("archive", _archives, _archive),
        Target("index_bin", seeds.published_index, _published),
        Target("gallery", _compressed_galleries, of_file("g.index", _search)),
        _gallery_member("gallery.json"),
        _gallery_member("embeddings.npy"),
        *(_column(f"{name}.npy") for name in ("persons", "names", "path_ends", "boxes")),
        Target("gallery_sealed", lambda: [seeds.sealed_gallery()], _sealed),
        Target("gallery_saved", lambda: [seeds.gallery_members()["gallery.json"]], _gallery_saved),
        Target("journal", lambda: list(_journals()), _journal),
        Target("gallery_labels", lambda: ["甲/a.jpg\t甲\n# no\nb.jpg\tBea\n".encode()], _gallery_labels),
        Target("hdf5", _hdf5_seeds, of_file("g.h5", _search)),
        Target("parquet", _parquet_seeds, of_file("g.parquet", _search)),
        Target("embedding_shards", _shard_indexes, _shard_index),
        Target("yaml", _recipes, of_file("c.yaml", _yaml)),
        _checkpoint("manifest.json", listed=False),
        _checkpoint("state.json", listed=True),
        _checkpoint("net.pdparams", listed=True),
        _checkpoint("backbone_momentum.pdparams", listed=True),
        _checkpoint("rank_0_softmax_weight.pkl", listed=True),
        Target("checkpoint_published", lambda: [_checkpoint_files()["rank_0_softmax_weight.pkl"]], _published_run),
        *(_ijb(part) for part in _IJB_FILES),
    )
}
"""By name."""
