"""The whole examination: every planted fault is found, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from doctor_faults import GAP_LABEL, Planted, embedder, jpeg, picture, write_clean, write_planted

from arcface_paddle import images
from arcface_paddle.data.kinds import open_dataset
from arcface_paddle.data.verification_set import read_verification_set, write_verification_set
from arcface_paddle.doctor.crop_embeddings import EmbeddingCache, EmbeddingStore
from arcface_paddle.doctor.doctor_settings import DoctorSettings
from arcface_paddle.doctor.document import report_document
from arcface_paddle.doctor.examination import Report, examine
from arcface_paddle.doctor.findings import KINDS
from arcface_paddle.errors import DataError, ImageError

BY_LABEL = ("same_person", "verification_identity")


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    return write_planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def report(planted) -> Report:
    dataset = open_dataset(planted.root)
    return examine(dataset, verification_sets=[read_verification_set(planted.verification)], embedder=embedder)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "channel_order"])
def test_planted_faults_are_found_exactly(kind, planted, report):
    found = report.ledger.listed(kind)
    places = {finding.labels if kind in BY_LABEL else finding.samples for finding in found}
    assert places == planted.expected[kind]
    assert len(found) == len(places) == report.ledger.counts[kind]


def test_findings_say_where_and_what(planted, report):
    document = report_document(report)
    assert document["problems"] == report.problems > 0
    assert document["counts"] == {kind: len(found) for kind, found in planted.expected.items()}
    for found in document["findings"].values():
        for finding in found:
            for image in finding["images"]:
                assert image["line"] == planted.lines[image["index"]]
                assert image["path"].startswith(str(planted.root / "images" / f"{image['index']:04d}"))
                assert image["label"] == report.dataset.labels[image["index"]]
    (gap,) = document["findings"]["label_gap"]
    assert gap["labels"] == [GAP_LABEL, GAP_LABEL] and gap["image_count"] == 0
    (size,) = document["findings"]["odd_size"]
    assert size["detail"] == "140x112 instead of 112x112"
    early = [finding["detail"] for finding in document["findings"]["truncated"]]
    assert any("rows are the grey" in detail for detail in early) and any("no end marker" in detail for detail in early)
    by_index = {finding["images"][0]["index"]: finding for finding in document["findings"]["verification_image"]}
    assert "identical pixels" in by_index[22]["detail"] and "correlation" in by_index[31]["detail"]
    assert by_index[22]["verification"] == [
        {"set": "lfw_like", "image": 0, "pair": 0},
        {"set": "lfw_like", "image": 6, "pair": 3},
    ]


def test_mislabelled_image_names_the_right_identity(planted, report):
    named = {finding.samples[0]: finding.labels for finding in report.ledger.listed("mislabelled")}
    stranger = max(named)
    assert named[stranger] == (5, 2)
    across = next(iter(planted.expected["exact_duplicate_across"]))[1]
    assert named[across] == (4, 1)


def test_clean_dataset_has_no_finding(tmp_path):
    write_clean(tmp_path / "set")
    report = examine(open_dataset(tmp_path / "set"), embedder=embedder)
    assert report.problems == 0 and not report.ledger.kinds_found()
    assert report.examined == 30


def test_statistics_against_plain_numpy(tmp_path):
    write_clean(tmp_path / "set", identities=3, shots=2)
    dataset = open_dataset(tmp_path / "set")
    facts = report_document(examine(dataset))["statistics"]
    pixels = np.stack([dataset.read_image(index) for index in range(6)]).reshape(-1, 3).astype(np.float64)
    assert facts["color_mean_rgb"] == pytest.approx(pixels.mean(axis=0), abs=1e-3)
    assert facts["color_std_rgb"] == pytest.approx(pixels.std(axis=0), abs=1e-3)
    lengths = sorted(len(dataset.read_encoded(index)) for index in range(6))
    assert (facts["encoded_bytes"]["min"], facts["encoded_bytes"]["max"]) == (lengths[0], lengths[-1])
    assert facts["sizes"] == {"112x112": 6} and facts["images_per_identity_histogram"] == {"1": 0, "2": 3}


def test_number_of_threads_does_not_change_the_report(planted):
    dataset = open_dataset(planted.root)
    documents = []
    for workers in (1, 4):
        document = report_document(examine(dataset, DoctorSettings(workers=workers), embedder=embedder))
        document["settings"].pop("workers")
        document.pop("seconds")
        documents.append(document)
    assert documents[0] == documents[1]


def test_without_embedder_labels_are_not_doubted(planted):
    found = {kind.key for kind in examine(open_dataset(planted.root)).ledger.kinds_found()}
    by_embedding = {"cluster_reject", "split_identity", "same_person", "mislabelled", "verification_identity"}
    assert not found & by_embedding and "missing" in found


def test_swapped_channels_are_noticed(tmp_path):
    for person in range(5):
        for shot in range(5):
            path = tmp_path / f"p{person}" / f"{shot}.jpg"
            images.write_image(path, np.ascontiguousarray(picture(person, shot)[:, :, ::-1]))
    report = examine(open_dataset(tmp_path))
    assert [kind.key for kind in report.ledger.kinds_found()] == ["channel_order"]


def test_folder_dataset_has_no_lines_and_ignored_kinds_do_not_count(tmp_path):
    for shot in range(3):
        images.write_image(tmp_path / "anna" / f"{shot}.jpg", picture(1, shot))
        images.write_image(tmp_path / "bert" / f"{shot}.jpg", picture(2, shot))
    (tmp_path / "bert" / "9.jpg").write_bytes(b"broken")
    report = examine(open_dataset(tmp_path), DoctorSettings(ignored=frozenset({"unreadable"})))
    (finding,) = report_document(report)["findings"]["unreadable"]
    assert finding["images"] == [{"index": 6, "path": str(tmp_path / "bert/9.jpg"), "line": None, "label": 1}]
    assert report.problems == 0


def test_all_images_broken(tmp_path):
    (tmp_path / "label.txt").write_text("a.jpg\t0\nb.jpg\t1\n")
    report = examine(open_dataset(tmp_path), embedder=embedder)
    document = report_document(report)
    assert document["counts"] == {"single_image": 2, "missing": 2}
    assert document["statistics"]["color_mean_rgb"] is None


def test_many_black_pictures_do_not_explode(tmp_path):
    black = [np.full((112, 112, 3), level % 4, np.uint8) for level in range(400)]
    for index, image in enumerate(black):
        image[index // 100, index % 100] += 3  # all distinct
        images.write_image(tmp_path / "one" / f"{index}.png", image)
    counts = examine(open_dataset(tmp_path), DoctorSettings(max_listed=50)).ledger.counts
    assert counts["near_black"] == 400 and counts["near_duplicate_same"] == 1


@pytest.mark.parametrize("bad", [np.zeros((1, 4)), np.full((64, 4), np.nan), np.zeros(64)])
def test_misbehaving_embedder_is_an_error(tmp_path, bad):
    write_clean(tmp_path / "set")
    with pytest.raises(DataError, match="embedder gave"):
        examine(open_dataset(tmp_path / "set"), embedder=lambda crops: bad)


def test_broken_verification_picture_names_its_set(tmp_path):
    write_clean(tmp_path / "set")
    write_verification_set(tmp_path / "lfw.bin", [jpeg(picture(40, 0)), b"nothing"], [False])
    with pytest.raises(ImageError, match="lfw: picture 1"):
        examine(open_dataset(tmp_path / "set"), verification_sets=[read_verification_set(tmp_path / "lfw.bin")])


class CountingEmbedder:
    """Counts the images that it embeds, and is interrupted when it has embedded ``limit``."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.count, self._limit = 0, limit

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        if self.count >= self._limit:
            raise KeyboardInterrupt
        self.count += len(crops)
        return embedder(crops)


def test_interrupted_embedding_goes_on(planted, tmp_path):
    dataset, settings = open_dataset(planted.root), DoctorSettings(embed_batch=8)
    cache = EmbeddingCache(tmp_path / "cache", "a model")
    whole = examine(dataset, settings, embedder=embedder)
    images_embedded = len(whole.scan.good())
    with pytest.raises(KeyboardInterrupt):
        examine(dataset, settings, embedder=CountingEmbedder(limit=24), cache=cache)
    going_on, again = CountingEmbedder(), CountingEmbedder()
    resumed = examine(dataset, settings, embedder=going_on, cache=cache)
    assert going_on.count == images_embedded - 24 + 8  # the first batch once more, to compare
    repeated = examine(dataset, settings, embedder=again, cache=cache)
    assert again.count == 8
    findings = [report_document(report)["findings"] for report in (whole, resumed, repeated)]
    assert findings[0] == findings[1] == findings[2]


def test_embeddings_of_other_images_or_models_are_not_taken(tmp_path):
    write_clean(tmp_path / "set")
    dataset, folder = open_dataset(tmp_path / "set"), tmp_path / "cache"
    examine(dataset, embedder=embedder, cache=EmbeddingCache(folder, "a model"))
    for change, model in (("nothing", "another model"), ("image", "a model"), ("cache", "a model")):
        if change == "image":
            (tmp_path / "set/images/0003.jpg").write_bytes(jpeg(picture(0, 77)))
        for path in folder.iterdir() if change == "cache" else ():
            path.write_bytes(bytes(len(path.read_bytes())))
        counting = CountingEmbedder()
        examine(dataset, embedder=counting, cache=EmbeddingCache(folder, model))
        assert counting.count >= len(dataset), change


def test_embeddings_that_cannot_be_written_are_an_error(tmp_path, monkeypatch):
    write_clean(tmp_path / "set")
    dataset = open_dataset(tmp_path / "set")
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(DataError, match=r"embeddings cannot be written: .*TMPDIR"):
        examine(dataset, embedder=embedder, cache=EmbeddingCache(tmp_path / "cache", "a model"))
    monkeypatch.setattr(EmbeddingStore, "append", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(DataError, match="No space left"):
        examine(dataset, embedder=embedder)
