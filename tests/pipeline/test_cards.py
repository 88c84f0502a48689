from __future__ import annotations

import dataclasses
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from arcface_paddle import files
from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import cards
from arcface_paddle.pipeline.model_files import PRESETS, REGISTRY, preset_card, shipped_folder

SHIPPED = [name for name, model in REGISTRY.items() if not model.archive]


def shipped_document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((shipped_folder(name) / cards.CARD_NAME).read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_cards_are_complete_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    card = cards.read_card(shipped_folder(name) / cards.CARD_NAME)
    assert card.name == name and card.task == REGISTRY[name].task
    assert card.source and card.licence and card.output and card.version
    assert set(card.files) >= (set() if card.fusion else {"inference.pdmodel", "inference.pdiparams"})
    for file_name in card.files:
        (tmp_path / file_name).write_bytes((shipped_folder(name) / file_name).read_bytes())
    assert cards.write_card(tmp_path, card) == card
    assert cards.read_card(tmp_path / cards.CARD_NAME) == card


def test_the_recognizer_says_what_its_training_data_allow() -> None:
    card = cards.read_card(shipped_folder("MobileFace") / cards.CARD_NAME)
    assert "MS-Celeb-1M" in card.notice and "research" in card.notice and "--rec_model" in card.notice
    assert card.recognizer is not None and card.recognizer.calibration is not None
    assert card.recognizer.calibration.statement


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid_cards_without_hashes(preset: str) -> None:
    assert preset_card(preset).files == {}


def test_write_card_computes_the_hashes_anew(tmp_path: Path) -> None:
    (tmp_path / "inference.pdiparams").write_bytes(b"weights")
    stale = dataclasses.replace(preset_card("aligned-112"), files={"inference.pdiparams": "0" * 64, "gone": "1" * 64})
    written = cards.write_card(tmp_path, stale)
    assert written.files == {"inference.pdiparams": files.sha256_of_file(tmp_path / "inference.pdiparams")}


def write_notices(folder: Path, word: str, barrier: Any) -> None:
    for number in range(20):
        barrier.wait()
        cards.edit_card(
            folder,
            lambda card: dataclasses.replace(card, notice=f"{card.notice} {word}{number}"),  # noqa: B023 (called now)
            when_missing=preset_card("aligned-112"),
        )


def test_two_processes_change_one_card_and_both_changes_stay(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=write_notices, args=(tmp_path, word, barrier)) for word in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    notice = cards.read_card(tmp_path / cards.CARD_NAME).notice.split()
    assert {f"{word}{number}" for word in "ab" for number in range(20)} <= set(notice)
    assert [path.name for path in tmp_path.iterdir()] == [cards.CARD_NAME]


def test_edit_card_reports_what_it_cannot_change(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none.model\.json: cannot be written"):
        cards.edit_card(tmp_path / "none", lambda card: card, when_missing=preset_card("aligned-112"))
    card = cards.write_card(tmp_path, preset_card("aligned-112"))
    with pytest.raises(ModelFileError, match="face painting"):
        cards.edit_card(tmp_path, lambda card: dataclasses.replace(card, task="face painting"), when_missing=card)
    assert cards.read_card(tmp_path / cards.CARD_NAME) == card


def test_write_card_refuses_an_invalid_card_and_keeps_the_old_one(tmp_path: Path) -> None:
    card = cards.write_card(tmp_path, preset_card("aligned-112"))
    broken = dataclasses.replace(card, task="face painting")
    with pytest.raises(ModelFileError, match="face painting"):
        cards.write_card(tmp_path, broken)
    assert cards.read_card(tmp_path / cards.CARD_NAME) == card


def test_preprocessing_hash_follows_the_template_and_the_normalisation_only() -> None:
    card = preset_card("aligned-112")
    assert card.recognizer is not None
    moved = dataclasses.replace(card.recognizer, template=((0.0, 0.0), *card.recognizer.template[1:]))
    others = [
        dataclasses.replace(card, recognizer=moved),
        dataclasses.replace(card, input=dataclasses.replace(card.input, color_order="BGR")),
    ]
    assert len({one.preprocessing_sha256() for one in [card, *others]}) == 3
    assert dataclasses.replace(card, name="x", notice="y").preprocessing_sha256() == card.preprocessing_sha256()


def broken_documents() -> list[tuple[str, dict[str, Any], str]]:
    def changed(name: str, path: str, value: Any) -> dict[str, Any]:
        document = shipped_document(name)
        *parents, last = path.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        if value is None:
            del section[last]
        else:
            section[last] = value
        return document

    return [
        ("unknown key", changed("MobileFace", "colour", "red"), "unknown key 'colour'"),
        ("nested unknown key", changed("BlazeFace", "detector.stride", 3), "detector: unknown key 'stride'"),
        ("missing key", changed("MobileFace", "licence", None), "'licence' is missing"),
        ("wrong type", changed("MobileFace", "input.scale", "one"), "scale: must be a float"),
        ("bool for a number", changed("MobileFace", "recognizer.embedding_size", True), "must be a int"),
        ("wrong length", changed("MobileFace", "input.mean", [1.0]), "must have 3 values"),
        ("not finite", changed("MobileFace", "input.scale", float("nan")), "scale"),
        ("zero std", changed("MobileFace", "input.std", [1.0, 0.0, 1.0]), "std above 0"),
        ("color order", changed("MobileFace", "input.color_order", "GBR"), "'GBR'"),
        ("format", changed("MobileFace", "format", 99), "format is 99"),
        ("task", changed("MobileFace", "task", "face detection"), "exactly the section"),
        ("threshold", changed("MobileFace", "recognizer.calibration.identification", 45), "similarities"),
        ("template", changed("MobileFace", "recognizer.template", [[1, 2]]), "five points"),
        ("scale size", changed("BlazeFace", "detector.scales", [{"size": 250}]), "multiples of the strides"),
        ("no scales", changed("BlazeFace", "detector.scales", []), "scales is empty"),
        ("decoder", changed("BlazeFace", "detector.decoder", "ssd"), "'ssd'"),
        ("hash", changed("BlazeFace", "files", {"a": 3}), "object of texts"),
    ]


@pytest.mark.parametrize(
    ("document", "message"), [case[1:] for case in broken_documents()], ids=[case[0] for case in broken_documents()]
)
def test_bad_cards_are_named_errors(document: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / cards.CARD_NAME
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ModelFileError, match=message) as caught:
        cards.read_card(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


BLAZEFACE = cards.DetectorSpec("blazeface", 0.5, (cards.ScaleSpec(64),), strides=(16, 32), anchors=(2, 6), keypoints=6)
SCRFD = dataclasses.replace(BLAZEFACE, decoder="scrfd", keypoints=5)
MTCNN = cards.DetectorSpec(
    "mtcnn", 0.5, (cards.ScaleSpec(512),), refiner="FaceRefiner", cascade=cards.CascadeSpec("FaceFilter")
)
TEMPLATE = ((38.0, 52.0), (74.0, 52.0), (56.0, 72.0), (42.0, 92.0), (71.0, 92.0))
BOUNDS: list[tuple[Any, str, list[Any], list[Any]]] = [
    (preset_card("aligned-112").input, "size_wh", [(1, 1)], [(0, 1), (1, 0)]),
    (preset_card("aligned-112").input, "std", [(1e-9,) * 3], [(1.0, 0.0, 1.0), (1.0, -1.0, 1.0)]),
    (preset_card("aligned-112").input, "interpolation", ["area", "bilinear"], ["cubic"]),
    (cards.ScaleSpec(64), "size", [1], [0, -64]),
    (cards.ScaleSpec(64), "border", [0.0, 0.99], [-0.01, 1.0]),
    (cards.ScanSpec(), "min_face", [1], [0]),
    (cards.ScanSpec(), "face_in_input", [1, 48], [0, 49]),
    (cards.ScanSpec(), "single_pass", [1], [0]),
    (cards.ScanSpec(), "shrink_from", [0], [-1]),
    (cards.ScanSpec(), "overlap", [20, 607], [19, 608]),
    (cards.ScanSpec(), "tile", [193], [192]),
    (cards.ScanSpec(), "window", [64, 128], [32, 97, 0]),
    (cards.ScanSpec(), "face_in_window", [1, 95], [0, 96]),
    (cards.ScanSpec(), "border", [0.0, 0.99], [-0.01, 1.0]),
    (cards.ScanSpec(), "noticed", [0.01, 0.99], [0.0, 1.0]),
    (MTCNN.cascade, "filter", ["FaceFilter"], [""]),
    (MTCNN.cascade, "min_face", [1], [0]),
    (MTCNN.cascade, "factor", [0.1, 0.95], [0.09, 0.96]),
    (MTCNN.cascade, "min_probability", [0.01, 0.99], [0.0, 1.0]),
    (MTCNN.cascade, "level_iou", [0.01, 1.0], [0.0, 1.01]),
    (BLAZEFACE, "score_threshold", [0.01, 0.99], [0.0, 1.0]),
    (BLAZEFACE, "strides", [(1, 2), (64, 32)], [(), (16,), (0, 32), (-16, 32), (24, 32)]),
    (BLAZEFACE, "anchors", [(1, 1)], [(), (2,), (2, 0)]),
    (BLAZEFACE, "keypoints", [4], [3, -4]),
    (SCRFD, "keypoints", [0, 5], [4, 6]),
    (SCRFD, "strides", [(1, 2)], [(), (0, 1)]),
    (dataclasses.replace(BLAZEFACE, decoder="centerface", anchors=()), "strides", [(1,)], [(), (0,)]),
    (dataclasses.replace(BLAZEFACE, decoder="rows", anchors=(), keypoints=0), "strides", [()], [(0,)]),
    (MTCNN, "scales", [(cards.ScaleSpec(64),)], [(cards.ScaleSpec(63),), ()]),
    (MTCNN, "refiner", ["FaceRefiner"], [""]),
    (MTCNN, "cascade", [MTCNN.cascade], [None]),
    (cards.RefinerSpec(1.4, 2, 0.8, 0.3, 0.4, 0.8), "crop_factor", [0.01], [0.0]),
    (cards.RefinerSpec(1.4, 2, 0.8, 0.3, 0.4, 0.8), "passes", [1], [0]),
    (cards.RefinerSpec(1.4, 2, 0.8, 0.3, 0.4, 0.8), "min_probability", [0.0, 1.0], [-0.01, 1.01]),
    (cards.Calibration(None, None, None, 0.3, ""), "identification", [-1.0, 1.0], [-1.01, 1.01]),
    (cards.Calibration(None, None, None, 0.3, ""), "far_1e4", [None, -1.0, 1.0], [-1.01, 1.01]),
    (
        cards.Calibration(None, None, None, 0.3, ""),
        "tail",
        [(), ((0.99, -1.0), (0.01, -1.0)), ((0.1, 0.5), (0.01, 1.0))],
        [((0.1, 0.5),), ((1.0, 0.1), (0.1, 0.2)), ((0.1, 0.1), (0.0, 0.2)), ((0.1, -1.1), (0.01, 0.2))],
    ),
    (cards.SimilaritySpec(), "scale", [0.01], [0.0, -1.0]),
    (cards.SimilaritySpec(), "offset", [-1.0, 1.0], [-1.01, 1.01]),
    (cards.RecognizerSpec(128, TEMPLATE), "embedding_size", [0, 1], [-1]),
    (cards.RecognizerSpec(128, TEMPLATE), "template", [TEMPLATE], [TEMPLATE[:4], (*TEMPLATE[:4], (1.0,))]),
    (cards.RecognizerSpec(128, TEMPLATE), "feature_norms", [None, (0.0, 0.1)], [(-0.1, 1.0), (1.0, 1.0)]),
    (cards.FusionSpec(("a", "b"), (1.0, 2.0)), "members", [("b", "c")], [("a",), ("a", "a"), ("a", "b", "c")]),
    (cards.FusionSpec(("a", "b"), (1.0, 2.0)), "weights", [(0.01, 9.0)], [(1.0,), (1.0, 0.0), (1.0, 1.0, 1.0)]),
]


@pytest.mark.parametrize(
    ("spec", "name", "good", "bad"),
    BOUNDS,
    ids=[f"{type(row[0]).__name__}-{row[1]}-{n}" for n, row in enumerate(BOUNDS)],
)
def test_a_card_is_allowed_all_up_to_the_bound_and_nothing_beyond(spec: Any, name: str, good: list, bad: list) -> None:
    assert [dataclasses.replace(spec, **{name: value}).problem() for value in good] == [""] * len(good)
    assert all(dataclasses.replace(spec, **{name: value}).problem() for value in bad)


@pytest.mark.parametrize("document", [["a"], "text", None])
def test_a_card_is_an_object(document: Any) -> None:
    with pytest.raises(ModelFileError, match="a card is a JSON object, not a"):
        cards.card_from_document(document, name="a.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_files_that_are_no_card(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / cards.CARD_NAME
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        cards.read_card(path)
    with pytest.raises(ModelFileError, match="No such file"):
        cards.read_card(tmp_path / "nothing.json")


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "[]", "\xff"])
def test_a_file_that_is_no_card_is_refused(tmp_path, content):
    path = tmp_path / cards.CARD_NAME
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ModelFileError, match=r"model\.json"):
        cards.read_card(path)


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ([[0.01, 0.3]], "two or more rates"),
        ([[0.01, 0.3], [0.0, 0.4]], "between 0 and 1"),
        ([[0.01, 0.3], [0.01, 0.4]], "rates of tail fall"),
        ([[0.01, 0.3], [0.001, 0.2]], "rise as its rates fall"),
        ([[0.01, 0.3], [0.001, 1.2]], "between -1 and 1"),
        ([[0.01, 0.3], [0.001]], "must have 2 values"),
    ],
)
def test_a_tail_that_cannot_be_one_is_a_named_error(tail: list[list[float]], message: str, tmp_path: Path) -> None:
    document = shipped_document("FaceFusion")
    document["recognizer"]["calibration"]["tail"] = tail
    (tmp_path / cards.CARD_NAME).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(ModelFileError, match=message):
        cards.read_card(tmp_path / cards.CARD_NAME)
