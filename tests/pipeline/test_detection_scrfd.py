"""The decoder of SCRFD against a slow twin and against faces at known places; files told by their ports."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scrfd_making import write_recognizer, write_scrfd

from arcface_paddle.errors import ModelFileError
from arcface_paddle.pipeline import RuntimeOptions, build_detector, build_recognizer, cards
from arcface_paddle.pipeline.detection.scrfd import ScrfdDetector
from arcface_paddle.pipeline.detection.scrfd_tables import decode_tables
from arcface_paddle.pipeline.model_files import find_card, open_model, preset_card
from arcface_paddle.pipeline.onnx_facts import read_onnx_facts
from arcface_paddle.pipeline.opening import open_detection
from arcface_paddle.pipeline.settings import PipelineSettings

ONNX = RuntimeOptions(engine="onnxruntime", threads=1)
OPENVINO = RuntimeOptions(engine="openvino", threads=1, precision="fp32")


def slow_rows(tables: list[np.ndarray], size_wh, strides, anchors: int, threshold: float) -> np.ndarray:
    """Decode anchor by anchor, as the paper describes the outputs; ``tables`` in the order of insightface."""
    rows, levels = [], len(strides)
    for level, stride in enumerate(strides):
        parts = [table.reshape(-1, table.shape[-1]) for table in tables[level::levels]]
        index = 0
        for line in range(size_wh[1] // stride):
            for column in range(size_wh[0] // stride):
                for _ in range(anchors):
                    x, y = column * stride, line * stride
                    if parts[0][index, 0] >= threshold:
                        left, top, right, bottom = parts[1][index] * stride
                        row = [x - left, y - top, x + right, y + bottom, parts[0][index, 0]]
                        for point in range(5 if len(parts) == 3 else 0):
                            row += [
                                x + parts[2][index, 2 * point] * stride,
                                y + parts[2][index, 2 * point + 1] * stride,
                            ]
                        rows.append(row)
                    index += 1
    return np.array(rows)


@pytest.mark.parametrize(
    ("strides", "anchors", "kinds"),
    [((8, 16, 32), 2, (1, 4, 10)), ((8, 16, 32), 2, (1, 4)), ((8, 16, 32, 64, 128), 1, (1, 4, 10))],
)
@pytest.mark.parametrize("batched", [False, True])
def test_tables_against_a_slow_twin(strides, anchors: int, kinds, batched: bool) -> None:
    random = np.random.default_rng(0)
    size_wh = (256, 128)
    tables = [
        random.uniform(0, 1 if kind == 1 else 4, (size_wh[0] // stride * (size_wh[1] // stride) * anchors, kind))
        for kind in kinds
        for stride in strides
    ]
    expected = slow_rows(tables, size_wh, strides, anchors, 0.9)
    given = [table[None] if batched else table for table in random.permutation(np.array(tables, object))]
    found = decode_tables(
        given,
        size_wh=size_wh,
        strides=strides,
        anchors=(anchors,) * len(strides),
        keypoints=5 if len(kinds) == 3 else 0,
        threshold=0.9,
    )
    assert len(found) > 20
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_tables_of_another_kind_are_refused() -> None:
    arguments = {"size_wh": (64, 64), "strides": (32,), "anchors": (2,), "keypoints": 0, "threshold": 0.5}
    with pytest.raises(ModelFileError, match=r"gave tables \[\(8, 1\), \(7, 4\)\]"):
        decode_tables([np.zeros((8, 1)), np.zeros((7, 4))], **arguments)
    with pytest.raises(ModelFileError, match="not finite"):
        decode_tables([np.full((8, 1), np.nan), np.zeros((8, 4))], **arguments)
    with pytest.raises(ModelFileError, match="not finite"):
        decode_tables([np.ones((8, 1)), np.full((8, 4), np.inf)], **arguments)


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scrfd(tmp_path_factory.mktemp("onnx") / "det_10g.onnx")


@pytest.mark.parametrize("options", [ONNX, OPENVINO], ids=["onnxruntime", "openvino"])
def test_faces_at_known_places(marked: Path, options: RuntimeOptions) -> None:
    detector = build_detector(marked, rotate="0", options=options)
    assert isinstance(detector, ScrfdDetector)
    assert repr(detector) == "ScrfdDetector('det_10g', threshold=0.5)"
    picture = np.zeros((640, 640, 3), np.uint8)
    picture[80:88, 400:408] = 255  # a cell of 8 pixels; the cells of 16 and 32 around it stay dark
    [face] = detector.detect(picture)
    distances = np.linspace(1, 2, 4) * 8
    np.testing.assert_allclose(face.box_xyxy, [400, 80, 400, 80] + distances * [-1, -1, 1, 1], atol=1e-3)
    points = np.array([400, 80]) + (np.linspace(1, 2, 10) * 8).reshape(5, 2)
    np.testing.assert_allclose(face.landmarks, points, atol=1e-3)
    assert face.score == pytest.approx(1, abs=1e-6)


def test_it_says_what_runs_it(marked: Path) -> None:
    facts = open_detection(PipelineSettings(det_model=str(marked), runtime=ONNX)).facts
    assert (facts["engine"], facts["precision"], facts["threads"]) == ("onnxruntime", "fp32", 1)


def test_pictures_of_any_proportions_stand_in_the_upper_left_corner(marked: Path) -> None:
    picture = np.zeros((320, 1280, 3), np.uint8)  # shrunk to 640x160: two pixels each
    picture[160:176, 640:656] = 255
    [face] = build_detector(marked, rotate="0", options=ONNX).detect(picture)
    distances = np.linspace(1, 2, 4) * 16
    np.testing.assert_allclose(face.box_xyxy, [640, 160, 640, 160] + distances * [-1, -1, 1, 1], atol=1e-3)


def test_a_whole_network_against_the_slow_twin(tmp_path: Path) -> None:
    """Random weights, every anchor with its own score and box; what is left after suppression by a slow loop."""
    import onnxruntime

    path = write_scrfd(tmp_path / "a.onnx", seed=4)
    picture = np.random.default_rng(1).integers(0, 256, (20, 20, 3)).astype(np.uint8).repeat(32, 0).repeat(32, 1)
    blob = ((picture.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rows = slow_rows(session.run(None, {"input.1": blob}), (640, 640), (8, 16, 32), 2, 0.8)
    kept: list[np.ndarray] = []
    for row in sorted(rows, key=lambda row: -row[4]):
        if all(_iou(row, other) <= 0.4 for other in kept):
            kept.append(row)
    faces = build_detector(path, threshold=0.8, rotate="0", options=ONNX).detect(picture)
    assert len(faces) == len(kept) > 50
    found = np.array([[*face.box_xyxy, face.score] for face in faces])
    expected = np.array(kept)[:, :5]
    apart = np.abs(found[None] - expected[:, None]).max(axis=2).min(axis=1)
    assert np.mean(apart < 1e-2) > 0.98  # ties in score may be broken either way


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    shared = np.maximum(np.minimum(one[2:4], other[2:4]) - np.maximum(one[:2], other[:2]), 0).prod()
    areas = [(row[2] - row[0]) * (row[3] - row[1]) for row in (one, other)]
    return shared / (sum(areas) - shared)


def test_a_face_that_the_first_pass_misses_is_found_smaller(marked: Path) -> None:
    """A white patch of 7 pixels fires in no pass; one that becomes a cell in the second pass is found there."""
    picture = np.zeros((640, 640, 3), np.uint8)
    picture[:, :] = (0, 255, 255)
    assert build_detector(marked, rotate="0", options=ONNX).detect(picture) == []
    spec = find_card(marked).detector
    assert spec is not None and [scale.border for scale in spec.scales] == [0.0, 0.3]
    seen: list[tuple[int, ...]] = []

    class Watching:
        input_names, output_names = ("input.1",), ()

        def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
            seen.append(tuple(np.argwhere(inputs[0][0, 1] > 0).min(axis=0)))
            sizes = [(640 // stride) ** 2 * 2 for stride in (8, 16, 32)]
            tables = [np.zeros((rows, kind), np.float32) for kind in (1, 4, 10) for rows in sizes]
            if len(seen) == 2:
                tables[0][(40 * 80 + 50) * 2] = 0.9  # column 50, line 40: pixel 400, 320 of the input
                tables[3][:] = 2
            return tables

    detector = ScrfdDetector(open_model(marked, task=cards.DETECTION), Watching(), settings=_upright())
    [face] = detector.detect(picture)
    assert seen == [(0, 0), (192, 192)]
    centre = (np.array([400, 320]) - 192) * 640 / 256
    np.testing.assert_allclose(face.box_xyxy, [*(centre - 40), *(centre + 40)], atol=1e-3)


def _upright():
    from arcface_paddle.pipeline.settings import DetectionSettings

    return DetectionSettings(None, None, "0")


def test_a_detector_without_points_and_one_of_a_fixed_size(tmp_path: Path) -> None:
    path = write_scrfd(tmp_path / "a.onnx", kinds=(1, 4), shape=(1, 3, 320, 320))
    card = find_card(path)
    assert card.input.size_wh == (320, 320)
    assert card.detector is not None and (card.detector.keypoints, card.detector.scales[0].size) == (0, 320)
    picture = np.zeros((320, 320, 3), np.uint8)
    picture[80:88, 160:168] = 255
    [face] = build_detector(path, rotate="0", options=ONNX).detect(picture)
    assert face.landmarks is None and face.score > 0.99


@pytest.mark.parametrize("batched", [False, True])
def test_five_levels_with_one_anchor(tmp_path: Path, batched: bool) -> None:
    path = write_scrfd(tmp_path / "a.onnx", strides=(8, 16, 32, 64, 128), anchors=1, batched=batched)
    spec = find_card(path).detector
    assert spec is not None and (spec.strides, spec.anchors) == ((8, 16, 32, 64, 128), (1,) * 5)
    picture = np.zeros((640, 640, 3), np.uint8)
    picture[80:88, 400:408] = 255
    assert len(build_detector(path, rotate="0", options=ONNX).detect(picture)) == 1


# ---------------------------------------------------------------------------------------------------------------
# Recognisers, and what is which


def test_a_recogniser_without_a_card_sees_pixels_of_minus_one_to_one(tmp_path: Path) -> None:
    path = write_recognizer(tmp_path / "w600k_r50.onnx")
    recognizer = build_recognizer(path, mirrored=False, options=ONNX)
    assert (recognizer.card.name, recognizer.embedding_size) == ("w600k_r50", 32)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    found = recognizer.embed(crops).vectors
    expected = _features((crops.astype(np.float64) - 127.5) / 127.5)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_recogniser_of_mxnet_sees_pixels_as_they_are(tmp_path: Path) -> None:
    path = write_recognizer(tmp_path / "a.onnx", normalising=True)
    crops = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), dtype=np.uint8)
    found = build_recognizer(path, mirrored=False, options=ONNX).embed(crops).vectors
    np.testing.assert_allclose(found, _features((crops.astype(np.float64) - 127.5) / 128), atol=1e-5)


def _features(pixels: np.ndarray) -> np.ndarray:
    means = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), 3, 7, 16, 7, 16).mean(axis=(3, 5))
    matrix = np.random.default_rng(3).standard_normal((3 * 49, 32)).astype(np.float32)
    features = means.reshape(len(pixels), -1) @ matrix
    return features / np.linalg.norm(features, axis=1, keepdims=True)


@pytest.mark.parametrize("options", [ONNX, OPENVINO], ids=["onnxruntime", "openvino"])
def test_a_file_that_takes_one_crop_at_a_time_gets_one_at_a_time(tmp_path: Path, options: RuntimeOptions) -> None:
    one, many = (
        build_recognizer(write_recognizer(tmp_path / f"{batch}.onnx", shape=(batch, 3, 112, 112)), options=options)
        for batch in (1, "None")
    )
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    np.testing.assert_allclose(one.embed(crops).vectors, many.embed(crops).vectors, atol=1e-5)


def test_a_preset_or_the_card_beside_a_file_goes_before_its_ports(tmp_path: Path, marked: Path) -> None:
    path = write_recognizer(tmp_path / "a.onnx")
    assert find_card(path, preset="aligned-112").input == preset_card("aligned-112").input
    card = dataclasses.replace(preset_card("insightface-112"), name="beside")
    cards.write_card(tmp_path, card)
    assert find_card(path).name == "beside"
    write_recognizer(path, scale=2)
    with pytest.raises(ModelFileError, match="SHA-256"):
        find_card(path)
    with pytest.raises(ModelFileError, match="is a model for face detection, not for face recognition"):
        open_model(marked, task=cards.RECOGNITION)


@pytest.mark.parametrize(
    "making",
    [
        {"shape": ("None", 3, 96, 96), "output": ("None", 3)},  # genderage.onnx
        {"shape": ("None", 1, 112, 112)},
        {"output": ("None", 3)},
        {"output": ("None", 32, 7, 7)},
    ],
)
def test_other_models_are_refused_by_their_ports(tmp_path: Path, making: dict) -> None:
    path = write_recognizer(tmp_path / "a.onnx", **making)
    with pytest.raises(ModelFileError, match=r"takes \(.*\) and gives \(.*\); known without a card are"):
        find_card(path)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"det_10g\.onnx: no such file"):
        find_card(tmp_path / "det_10g.onnx")


def test_ports_are_read_as_onnx_reads_them(marked: Path) -> None:
    import onnx

    facts = read_onnx_facts(marked)
    graph = onnx.load(str(marked)).graph
    for ports, expected in ((facts.inputs, graph.input), (facts.outputs, graph.output)):
        assert [port.name for port in ports] == [one.name for one in expected]
        for port, one in zip(ports, expected):
            sides = [side.dim_value or None for side in one.type.tensor_type.shape.dim]
            assert list(port.sides) == sides
    assert facts.first_operators == tuple(node.op_type for node in graph.node[:8])


@pytest.mark.parametrize("batched", [False, True])
def test_one_anchor_is_a_table_of_one_row(batched: bool) -> None:
    tables = [np.array([[0.9]]), np.array([[1.0, 2, 3, 4]]), np.arange(10.0)[None]]
    given = [table[None] if batched else table for table in tables]
    found = decode_tables(given, size_wh=(8, 8), strides=(8,), anchors=(1,), keypoints=5, threshold=0.5)
    np.testing.assert_allclose(found, slow_rows(tables, (8, 8), (8,), 1, 0.5))
    with pytest.raises(ModelFileError, match="gave tables"):
        decode_tables(
            [np.stack([table, table]) for table in tables],
            size_wh=(8, 8), strides=(8,), anchors=(1,), keypoints=5, threshold=0.5,
        )  # fmt: skip
