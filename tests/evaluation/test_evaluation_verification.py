from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle.errors import DataError
from arcface_paddle.evaluation import verification
from arcface_paddle.evaluation.verification import (
    fold_accuracy,
    l2_normalized,
    log_lines,
    validation_rate,
    verify,
)

sys.path.insert(0, str(Path(__file__).parent))
import published_protocol as twin

BLOCKS_OF_FOLDS = np.repeat(np.arange(10) % 2 == 0, 30)  # folds are all-genuine or all-impostor in turn


def assert_equals_twin(features, mirrored, issame):
    result = verify(features, mirrored, issame, name="set")
    expected = twin.evaluate(features, mirrored, issame)
    got = {
        "accuracy": result.accuracy.mean,
        "std": result.accuracy.std,
        "xnorm": result.xnorm,
        "val": result.validation_rate.val,
        "val_std": result.validation_rate.val_std,
        "far": result.validation_rate.far,
    }
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        if value is None:
            assert got[key] is None, key
        else:
            assert got[key] == pytest.approx(value, abs=1e-6), key
    return result


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_equals_the_published_protocol(seed, noise):
    assert_equals_twin(*twin.random_set(203 + seed, 16, seed=seed, noise=noise))


def test_equals_the_published_protocol_on_large_set():
    result = assert_equals_twin(*twin.random_set(2500, 32, seed=9, noise=1.2))
    assert 0.8 < result.accuracy.mean < 1
    assert 0.1 < result.validation_rate.val < 1


def test_duplicate_distances():
    features, mirrored, issame = twin.random_set(400, 2, seed=3, digits=0)
    result = assert_equals_twin(features, mirrored, issame)
    assert len(np.unique(result.similarities.round(9))) < 100


def test_identical_pictures():
    features = np.ones((60, 8), dtype=np.float32)
    assert_equals_twin(features, features, np.arange(30) % 3 == 0)


def test_folds_without_negatives_and_without_positives():
    assert_equals_twin(*twin.random_set(300, 8, seed=1, genuine=BLOCKS_OF_FOLDS))


@pytest.mark.parametrize("kind", [True, False])
def test_pairs_all_of_one_kind(kind):
    result = assert_equals_twin(*twin.random_set(40, 8, genuine=np.full(40, kind)))
    assert result.auc is None
    assert result.equal_error_rate is None
    assert result.best_threshold is None
    assert all(point.tar is None and point.remark for point in result.operating_points)


def test_uneven_folds_choose_the_same_thresholds():
    features, mirrored, issame = twin.random_set(47, 8, seed=5)
    _, embeddings = twin.embeddings_of(features, mirrored)
    distances = np.sum(np.square(embeddings[0::2] - embeddings[1::2]), 1)
    accuracies, thresholds = twin.accuracy_over_folds(distances, issame)
    result = fold_accuracy(distances, issame)
    np.testing.assert_array_equal(result.folds, accuracies)
    np.testing.assert_array_equal(result.thresholds, thresholds)


def test_distance_equal_to_a_threshold_is_not_accepted():
    distances = np.full(20, np.arange(0, 4, 0.01)[100])
    result = fold_accuracy(distances, np.ones(20, dtype=bool))
    assert result.mean == 1
    np.testing.assert_array_equal(result.thresholds, np.arange(0, 4, 0.01)[101])


def test_val_equals_scipy_where_scipy_works():
    interpolate = pytest.importorskip("scipy.interpolate")
    generator = np.random.default_rng(0)
    far = np.sort(generator.random(50))
    thresholds = np.linspace(0, 4, 50)
    target = 0.37
    expected = float(interpolate.interp1d(far, thresholds, kind="slinear")(target))
    assert twin.interpolate_last(far, thresholds, target) == pytest.approx(expected, abs=1e-12)


def test_val_is_exact_on_target_with_repeated_far():
    # 1000 impostors per nine folds would make FAR 1e-3 one false accept exactly, repeated over many thresholds.
    issame = np.tile([True, False], 560)[:1112]
    distances = np.where(issame, 0.8, 1.5)
    distances[1] = 0.5
    vals, fars = twin.val_over_folds(distances, issame)
    rate = validation_rate(distances, issame)
    assert rate.val == pytest.approx(np.mean(vals), abs=1e-9)
    assert rate.far == pytest.approx(np.mean(fars), abs=1e-9)


@pytest.mark.parametrize(
    ("impostors", "remark"),
    [
        (40, "too few pairs: 36 of strangers for a threshold, at least 1,000 needed"),
        (1100, "too few pairs: 990 of strangers for a threshold, at least 1,000 needed"),
        (1120, ""),
    ],
)
def test_val_of_too_few_strangers_is_remarked(impostors, remark):
    issame = np.tile([True, False], impostors)
    distances = np.random.default_rng(0).normal(np.where(issame, 0.8, 1.6), 0.2)
    rate = validation_rate(distances, issame)
    assert rate.remark == remark
    assert rate.val == pytest.approx(np.mean(twin.val_over_folds(distances, issame)[0]))  # as published, all the same


def test_val_without_genuine_pairs_is_remarked():
    rate = validation_rate(np.linspace(1, 2, 20), np.zeros(20, dtype=bool))
    assert (rate.val, rate.remark) == (None, "no genuine pairs")


def test_without_mirror_pass():
    features, _, issame = twin.random_set(50, 8)
    result = verify(features, None, issame, name="set")
    assert result.accuracy.mean == verify(features, features, issame, name="set").accuracy.mean
    assert result.xnorm == pytest.approx(np.linalg.norm(features, axis=1).mean(), rel=1e-6)


def test_log_lines_have_the_published_form():
    features, mirrored, issame = twin.random_set(100, 8)
    result = verify(features, mirrored, issame, name="lfw")
    lines = log_lines(result, step=2000, highest=0.59017)
    assert lines[0] == f"[lfw][2000]XNorm: {result.xnorm:.6f}"
    assert lines[1] == f"[lfw][2000]Accuracy-Flip: {result.accuracy.mean:.5f}+-{result.accuracy.std:.5f}"
    assert lines[2] == "[lfw][2000]Accuracy-Highest: 0.59017"


def test_zero_feature_is_no_crash():
    features, mirrored, issame = twin.random_set(20, 4)
    features[3] = mirrored[3] = 0
    assert 0 <= verify(features, mirrored, issame, name="set").accuracy.mean <= 1
    np.testing.assert_array_equal(l2_normalized(np.zeros((1, 3))), np.zeros((1, 3)))


def test_refuses_values_that_are_not_finite_and_names_the_image():
    features, mirrored, issame = twin.random_set(20, 4)
    mirrored[17, 2] = np.nan
    with pytest.raises(DataError, match="lfw: the feature of image 17"):
        verify(features, mirrored, issame, name="lfw")


@pytest.mark.parametrize("pairs", [0, 9])
def test_refuses_fewer_pairs_than_folds(pairs):
    with pytest.raises(DataError, match=f"{pairs} pairs; the protocol has 10 folds"):
        verify(np.ones((2 * pairs, 4)), None, np.ones(pairs, dtype=bool), name="own")


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(DataError, match="39, 4"):
        verify(np.ones((39, 4)), None, np.ones(20, dtype=bool), name="own")
    with pytest.raises(DataError, match="mirrored"):
        verify(np.ones((40, 4)), np.ones((40, 5)), np.ones(20, dtype=bool), name="own")


def test_the_published_thresholds_end_before_the_largest_distance():
    assert (verification.FOLDS, verification.VAL_FAR_TARGET) == (10, 1e-3)
    np.testing.assert_array_equal(verification.ACCURACY_THRESHOLDS, np.arange(400) * 0.01)
    np.testing.assert_array_equal(verification.VAL_THRESHOLDS, np.arange(4000) * 0.001)
    opposite = np.full(20, 4.0)
    assert fold_accuracy(opposite, np.ones(20, dtype=bool)).mean == 0
    assert validation_rate(opposite, np.arange(20) % 2 == 0).val == 0
