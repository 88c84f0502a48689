from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.evaluation import ijb as protocol
from arcface_paddle.evaluation.embedding import Features
from arcface_paddle.evaluation.ijb import (
    FAR_TARGETS,
    SETTING_NAMES,
    TemplateSettings,
    image_features,
    pool_templates,
    published_tar,
    search_templates,
    verify_templates,
)
from arcface_paddle.evaluation.ijb_files import read_ijb

sys.path.insert(0, str(Path(__file__).parent))
from ijb_layout import write_ijb

SETTINGS = [TemplateSettings(n, d, f) for n in (True, False) for d in (True, False) for f in (True, False)]


@pytest.fixture(params=["ijbc", "ijbb"])
def layout(request, tmp_path):
    rows = write_ijb(tmp_path, prefix=request.param)
    return tmp_path, rows, request.param


def test_the_published_rates_and_settings():
    assert FAR_TARGETS == (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    assert SETTING_NAMES == ("N1D1F1", "N1D1F0", "N1D0F1", "N1D0F0", "N0D1F1", "N0D1F0", "N0D0F1", "N0D0F0")


def subject_features(rows, *, noise=1.0, seed=0):
    """Features of the pictures of a layout: a direction per subject, norms that differ, noise."""
    generator = np.random.default_rng(seed)
    subjects = np.array([subject for subject, _, _ in rows.values()])
    plain = 3 * generator.normal(size=(subjects.max() + 1, 16))[subjects]
    plain = (plain + noise * 3 * generator.normal(size=plain.shape)) * generator.uniform(0.5, 2, (len(plain), 1))
    mirrored = plain + 0.3 * generator.normal(size=plain.shape)
    return Features(plain.astype(np.float32), mirrored.astype(np.float32))


def slow_templates(features, ijb, settings):
    """The protocol one picture, one medium, one template at a time."""
    weighted = []
    for row in range(len(ijb.pictures)):
        feature = features.plain[row].astype(float)
        if settings.flip:
            feature = feature + features.mirrored[row]
        if not settings.norm_weight:
            feature = feature / np.linalg.norm(feature)
        if settings.detector_weight:
            feature = feature * float(ijb.detector_scores[row])
        weighted.append(feature)
    result = {}
    for template in sorted(set(ijb.templates.tolist())):
        total = 0
        of_template = [row for row in range(len(weighted)) if ijb.templates[row] == template]
        for medium in {ijb.media[row] for row in of_template}:
            total = total + np.mean([weighted[row] for row in of_template if ijb.media[row] == medium], axis=0)
        result[template] = total / np.linalg.norm(total)
    return result


def test_reads_the_public_layout(layout):
    folder, rows, prefix = layout
    ijb = read_ijb(folder)
    assert ijb.name == prefix.upper()
    assert ijb.pictures == list(rows)
    assert [tuple(row) for row in zip(ijb.templates, ijb.media)] == [(t, m) for _, t, m in rows.values()]
    assert ijb.landmarks.shape == (len(rows), 5, 2)
    assert 0.5 <= ijb.detector_scores.min() < ijb.detector_scores.max() <= 1
    assert Path(ijb.folder, ijb.pictures[0]).is_file()
    assert len(ijb.pairs) == 24 * 23 // 2
    assert ijb.issame.sum() == 8 * 3
    assert {name: len(g.templates) for name, g in ijb.galleries.items()} == (
        {"S1": 4, "S2": 4} if prefix == "ijbb" else {"G1": 4, "G2": 4}
    )
    assert len(ijb.probes.templates) == 16


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.name)
def test_templates_equal_the_protocol_step_by_step(tmp_path, settings):
    rows = write_ijb(tmp_path)
    ijb, features = read_ijb(tmp_path), subject_features(rows)
    expected = slow_templates(features, ijb, settings)
    embeddings, numbers = pool_templates(
        image_features(features, ijb.detector_scores, settings=settings), ijb.templates, ijb.media
    )
    assert numbers.tolist() == list(expected)
    np.testing.assert_allclose(embeddings, np.stack(list(expected.values())), atol=1e-9)
    result = verify_templates(embeddings, numbers, ijb, settings=settings)
    similarities = [float(expected[a] @ expected[b]) for a, b in ijb.pairs.tolist()]
    np.testing.assert_allclose(result.similarities, similarities, atol=1e-9)
    assert settings.name in result.name
    assert result.operating_points[1].tar is not None  # FAR 1e-2 of 252 impostor pairs
    assert result.operating_points[2].tar is None  # FAR 1e-3 is not to be had


def test_flags_change_the_templates(tmp_path):
    rows = write_ijb(tmp_path)
    ijb, features = read_ijb(tmp_path), subject_features(rows)
    pooled = [
        pool_templates(image_features(features, ijb.detector_scores, settings=s), ijb.templates, ijb.media)[0]
        for s in SETTINGS
    ]
    for first in range(len(pooled)):
        for second in range(first):
            assert not np.allclose(pooled[first], pooled[second])


def test_search_gives_rank_and_open_set(layout):
    folder, rows, _ = layout
    ijb, features = read_ijb(folder), subject_features(rows, noise=1.2)
    embeddings, numbers = pool_templates(image_features(features, ijb.detector_scores), ijb.templates, ijb.media)
    result = search_templates(embeddings, numbers, ijb)
    row_of = {number: row for row, number in enumerate(numbers.tolist())}
    gallery = [(t, s) for g in ijb.galleries.values() for t, s in zip(g.templates.tolist(), g.subjects.tolist())]
    hits = 0
    for template, subject in zip(ijb.probes.templates.tolist(), ijb.probes.subjects.tolist()):
        scores = [(embeddings[row_of[template]] @ embeddings[row_of[t]], s) for t, s in gallery]
        hits += max(scores)[1] == subject
    assert result.closed.unmated == 0
    assert result.closed.rank(1) == pytest.approx(hits / 16)
    for open_result in result.open.values():
        assert (open_result.mated, open_result.unmated, open_result.people) == (8, 8, 4)


@pytest.mark.parametrize("digits", [None, 1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_published_tar_equals_scikit_learn(digits, seed):
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(seed)
    genuine, impostor = generator.normal(0.5, 0.2, 300), generator.normal(0, 0.2, 4000)
    if digits is not None:
        genuine, impostor = genuine.round(digits), impostor.round(digits)
    labels = np.concatenate([np.ones(300), np.zeros(4000)])
    far, tar, _ = metrics.roc_curve(labels, np.concatenate([genuine, impostor]))
    far, tar = far[::-1], tar[::-1]
    targets = (1e-1, 1e-2, 1e-3, 1e-4)
    expected = [tar[min(range(len(far)), key=lambda i: abs(far[i] - target))] for target in targets]
    np.testing.assert_allclose(published_tar(genuine, impostor, targets), expected, atol=1e-12)


def damage(path, change):
    lines = path.read_text().splitlines()
    change(lines)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "line", "text", "message"),
    [
        ("ijbc_face_tid_mid.txt", 2, "3.jpg one 4", r"face_tid_mid.txt line 3: '3.jpg one 4'; expected"),
        ("ijbc_face_tid_mid.txt", 2, "77.jpg 1 4", r"name different pictures from line 3 on"),
        ("ijbc_template_pair_label.txt", 4, "1 4 x", r"pair_label.txt line 5: '1 4 x'; expected 3 integers"),
        ("ijbc_template_pair_label.txt", 4, "1 4", r"line 5: '1 4'; expected 3 integers"),
        ("ijbc_template_pair_label.txt", 4, "1 4 2", r"line 5: label 2; allowed: 0, 1"),
        ("ijbc_name_5pts_score.txt", 0, "1.jpg 1 2 3", r"score.txt line 1: '1.jpg 1 2 3'; expected"),
        ("ijbc_name_5pts_score.txt", 0, "1.jpg" + " nan" * 11, r"score.txt line 1"),
        ("ijbc_name_5pts_score.txt", 1, "", r"score.txt line 2: ''; expected: picture, five x y, score"),
        ("ijbc_template_pair_label.txt", 4, "1\u00a04 1", r"pair_label.txt: integers"),
        ("ijbc_template_pair_label.txt", 4, "1 9300000000000000000 1", r"line 5: .*; expected 3 integers"),
        ("ijbc_1N_probe_mixed.csv", 1, "7", r"mixed.csv line 2: '7'; expected"),
        ("ijbc_1N_probe_mixed.csv", 1, "a,b,c", r"mixed.csv line 2: 'a,b,c'; expected"),
        ("ijbc_1N_probe_mixed.csv", 2, "4,5,c", r"line 3: template 4 is of subject 5, further up of 0"),
    ],
)
def test_damaged_metadata_names_file_and_line(tmp_path, name, line, text, message):
    write_ijb(tmp_path)
    damage(tmp_path / "meta" / name, lambda lines: lines.__setitem__(line, text))
    with pytest.raises(DataError, match=message):
        read_ijb(tmp_path)


def test_missing_parts(tmp_path):
    rows = write_ijb(tmp_path / "set")
    meta = tmp_path / "set" / "meta"
    with pytest.raises(DataError, match=r"neither ijbb_face_tid_mid.txt nor ijbc_face_tid_mid.txt"):
        read_ijb(tmp_path)
    (meta / "ijbc_1N_probe_mixed.csv").unlink()
    ijb, features = read_ijb(tmp_path / "set"), subject_features(rows)
    embeddings, numbers = pool_templates(image_features(features, ijb.detector_scores), ijb.templates, ijb.media)
    with pytest.raises(DataError, match="IJBC: no 1:N gallery and probe lists"):
        search_templates(embeddings, numbers, ijb)
    with pytest.raises(DataError, match="IJBC template pairs: template 70 has no picture"):
        verify_templates(embeddings[:-1], numbers[:-1], ijb)
    (meta / "ijbc_template_pair_label.txt").unlink()
    with pytest.raises(DataError, match=r"pair_label.txt: no such file"):
        read_ijb(tmp_path / "set")


def test_flip_needs_the_mirror_pass():
    features = Features(np.ones((2, 3), dtype=np.float32), None)
    with pytest.raises(DataError, match="mirrored"):
        image_features(features, np.ones(2))
    with pytest.raises(DataError, match="2 features for 3 detector scores"):
        image_features(features, np.ones(3), settings=TemplateSettings(flip=False))


def test_files_that_hold_nothing_of_use(tmp_path):
    write_ijb(tmp_path)
    meta = tmp_path / "meta"
    probes, media = meta / "ijbc_1N_probe_mixed.csv", meta / "ijbc_face_tid_mid.txt"
    for content, message in (
        (b"TEMPLATE_ID,SUBJECT_ID,FILENAME\n", "mixed.csv: no line below the header"),
        (b"A,B\n1," + b"9" * 200_000, "mixed.csv: not a table of comma-separated values: field larger"),
    ):
        probes.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_ijb(tmp_path)
    for content, message in ((b" \n", "tid_mid.txt: the file is empty"), (b"\xff", "mid.txt: cannot be read as text")):
        media.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_ijb(tmp_path)


def test_a_list_that_ends_early_is_told_with_its_line(tmp_path):
    rows = write_ijb(tmp_path)
    damage(tmp_path / "meta" / "ijbc_face_tid_mid.txt", lambda lines: lines.pop())
    with pytest.raises(
        DataError, match=rf"\({len(rows) - 1} lines\) .* \({len(rows)} lines\) .* from line {len(rows) - 1} on"
    ):
        read_ijb(tmp_path)


def test_pairs_are_compared_in_blocks(tmp_path, monkeypatch):
    rows = write_ijb(tmp_path)
    ijb, features = read_ijb(tmp_path), subject_features(rows)
    pooled = pool_templates(image_features(features, ijb.detector_scores), ijb.templates, ijb.media)
    whole = verify_templates(*pooled, ijb)
    monkeypatch.setattr(protocol, "_BLOCK_PAIRS", 7)
    np.testing.assert_array_equal(verify_templates(*pooled, ijb).similarities, whole.similarities)


def test_published_tar_of_one_kind_and_of_few_scores():
    assert (
        published_tar(np.ones(1), np.ones(0), (0.1, 0.2))
        == published_tar(np.ones(0), np.ones(1), (1, 2))
        == (None,) * 2
    )
    metrics = pytest.importorskip("sklearn.metrics")
    for genuine, impostor in (([0.5], [0.5]), ([0.9], [0.1]), ([0.9, 0.5], [0.5, 0.1]), ([0.9, 0.5], [0.1])):
        labels = [1] * len(genuine) + [0] * len(impostor)
        far, tar, _ = metrics.roc_curve(labels, genuine + impostor)
        expected = [tar[::-1][np.argmin(np.abs(far[::-1] - target))] for target in (0.0, 0.3, 1.0)]
        assert published_tar(np.array(genuine), np.array(impostor), (0.0, 0.3, 1.0)) == pytest.approx(expected)
