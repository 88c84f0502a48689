"""Checkpoints of one process: whole or absent, found again, damaged, foreign, published-only."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from arcface_paddle import safe_pickle
from arcface_paddle.errors import CheckpointError
from arcface_paddle.training import checkpoint
from arcface_paddle.training.checkpoint import (
    ClassifierShard,
    RunIdentity,
    Snapshot,
    clear_leftovers,
    list_checkpoints,
    mark_best,
    save_checkpoint,
)
from arcface_paddle.training.restore import RowRange, restore
from arcface_paddle.training.state import LoopState
from arcface_paddle.weight_files import read_state_dict, write_state_dict

IDENTITY = RunIdentity(network="net", embedding_size=4, num_classes=6, global_batch=8, epoch_images=100)
ALL_ROWS = RowRange(0, 6)


def snapshot(step: int, identity: RunIdentity = IDENTITY) -> Snapshot:
    rng = np.random.default_rng(step)

    def array(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    return Snapshot(
        identity=identity,
        state=LoopState(step=step, epoch=1, sample=3 * step, seed=5, highest={"lfw": 0.5}, scaler={"scale": 2.0}),
        backbone={"conv.weight": array(3, 2), "bn._mean": array(3)},
        backbone_momentum={"conv.weight": array(3, 2)},
        shard=ClassifierShard(0, array(identity.num_classes, 4), array(identity.num_classes, 4)),
    )


def save(output: Path, step: int, *, keep_last: int = 3) -> Path:
    return save_checkpoint(output, snapshot(step), keep_last=keep_last)


def read(output: Path, identity: RunIdentity = IDENTITY, rows: RowRange = ALL_ROWS):
    said: list[str] = []
    return restore(output, identity, rows, say=said.append), said


def assert_holds(restored, step: int) -> None:
    expected = snapshot(step)
    assert restored.state == expected.state
    np.testing.assert_array_equal(restored.shard.weight, expected.shard.weight)
    np.testing.assert_array_equal(restored.shard.momentum, expected.shard.momentum)
    for mine, other in (
        (restored.backbone, expected.backbone),
        (restored.backbone_momentum, expected.backbone_momentum),
    ):
        assert list(mine) == list(other)
        for key in mine:
            np.testing.assert_array_equal(mine[key], other[key])


def test_round_trip(tmp_path):
    folder = save(tmp_path, 7)
    restored, said = read(tmp_path)
    assert_holds(restored, 7)
    assert (restored.source, restored.missing, said) == (folder, (), [])
    assert sorted(path.name for path in folder.iterdir()) == [
        "backbone_momentum.pdparams", "manifest.json", "net.pdparams",
        "rank_0_softmax_weight.pkl", "rank_0_softmax_weight_mom.pkl", "state.json",
    ]  # fmt: skip


def test_part_of_the_rows(tmp_path):
    save(tmp_path, 7)
    restored, _ = read(tmp_path, rows=RowRange(2, 5))
    np.testing.assert_array_equal(restored.shard.weight, snapshot(7).shard.weight[2:5])
    assert restored.shard.start == 2


def adaptive(step: int, shards: int = 1, rank: int = 0) -> Snapshot:
    """The snapshot of AMSGrad, as one of several ranks sees it; arrays of the same step are the same."""
    plain, rng = snapshot(step, dataclasses.replace(IDENTITY, optimizer="amsgrad")), np.random.default_rng(100 + step)
    own = np.array_split(np.arange(6), shards)[rank]
    widths = {"second": 4, "largest": 4, "count": 1}
    extra = {name: rng.random((6, width)).astype(np.float32)[own] for name, width in widths.items()}
    return dataclasses.replace(
        plain,
        shard=ClassifierShard(int(own[0]), plain.shard.weight[own], plain.shard.momentum[own], extra),
        backbone_extra={name: {"conv.weight": rng.random((3, 2)).astype(np.float32)} for name in ("second", "largest")},
    )


def test_states_of_adam_are_kept_and_cut_for_other_ranks(tmp_path):
    identity = adaptive(7).identity
    save_checkpoint(tmp_path, adaptive(7), keep_last=3)
    restored, _ = read(tmp_path, identity, RowRange(2, 5))
    assert list(restored.shard.extra_states) == ["second", "largest", "count"]
    for name, array in adaptive(7).shard.extra_states.items():
        np.testing.assert_array_equal(restored.shard.extra_states[name], array[2:5])
    for name, arrays in adaptive(7).backbone_extra.items():
        np.testing.assert_array_equal(restored.backbone_extra[name]["conv.weight"], arrays["conv.weight"])
    assert not (tmp_path / "rank:0_softmax_weight_second.pkl").exists()


def test_another_optimizer_is_refused_unless_its_states_are_left_behind(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(
        CheckpointError, match=r"made with optimizer sgd, this run has adam: .*--override optimizer=none"
    ):
        read(tmp_path, dataclasses.replace(IDENTITY, optimizer="adam"))
    restored, _ = read(tmp_path, dataclasses.replace(IDENTITY, optimizer=None))
    assert restored.backbone_momentum is None and not restored.shard.momentum.any()
    np.testing.assert_array_equal(restored.shard.weight, snapshot(1).shard.weight)


def test_adam_goes_on_as_adamw(tmp_path):
    two = dataclasses.replace(adaptive(1), backbone_extra={"second": adaptive(1).backbone_extra["second"]})
    extra = {name: array for name, array in two.shard.extra_states.items() if name != "largest"}
    shard = dataclasses.replace(two.shard, extra_states=extra)
    identity = dataclasses.replace(two.identity, optimizer="adam")
    save_checkpoint(tmp_path, dataclasses.replace(two, identity=identity, shard=shard), keep_last=1)
    restored, _ = read(tmp_path, dataclasses.replace(identity, optimizer="adamw"))
    assert list(restored.shard.extra_states) == ["second", "count"]


def test_a_checkpoint_of_an_earlier_version_is_read(tmp_path):
    """Its manifest names no optimizer and its state has none of the fields that came later."""
    folder = save(tmp_path, 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["optimizer"]
    state = json.loads((folder / "state.json").read_text())
    for name in ("updates", "decay", "override"):
        del state[name]
    content = json.dumps(state).encode()
    (folder / "state.json").write_bytes(content)
    manifest["files"]["state.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    restored, said = read(tmp_path)
    assert_holds(restored, 1)
    assert said == []
    del state["seed"]
    with pytest.raises(CheckpointError, match="do not fit this version: seed"):
        LoopState.from_json(state, name="state.json")


def test_newest_stands_under_the_published_names(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
    with open(tmp_path / "rank:0_softmax_weight.pkl", "rb") as stream:  # as the published trainer reads it
        np.testing.assert_array_equal(pickle.load(stream), snapshot(2).shard.weight)
    assert (tmp_path / "rank:0_softmax_weight_mom.pkl").is_file()
    np.testing.assert_array_equal(
        read_state_dict(tmp_path / "net.pdparams")["conv.weight"], snapshot(2).backbone["conv.weight"]
    )
    newest = list_checkpoints(tmp_path)[0][1]
    assert (tmp_path / "net.pdparams").samefile(newest / "net.pdparams")


def test_copies_where_links_are_not_possible(tmp_path, monkeypatch):
    def no_links(*_args):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    save(tmp_path, 1)
    assert read_state_dict(tmp_path / "net.pdparams").keys() == snapshot(1).backbone.keys()


def test_keeps_the_last_ones_and_the_best(tmp_path):
    for step in range(1, 6):
        folder = save(tmp_path, step, keep_last=2)
        if step == 2:
            mark_best(tmp_path, folder, network="net", step=2, accuracy=0.75)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [5, 4]
    np.testing.assert_array_equal(
        read_state_dict(tmp_path / "best" / "net.pdparams")["conv.weight"], snapshot(2).backbone["conv.weight"]
    )
    assert json.loads((tmp_path / "best" / "best.json").read_text()) == {"step": 2, "accuracy": 0.75, "network": "net"}


def test_shards_of_ranks_now_gone_are_dropped(tmp_path):
    (tmp_path / "rank:5_softmax_weight.pkl").write_bytes(b"old")
    (tmp_path / "rank_of_faces.pkl").write_bytes(b"not ours")
    save(tmp_path, 1)
    names = {path.name for path in tmp_path.iterdir()}
    assert "rank:5_softmax_weight.pkl" not in names
    assert "rank_of_faces.pkl" in names


def test_saving_the_same_step_again(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 1)
    assert_holds(read(tmp_path)[0], 1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]


def test_nothing_to_resume_from(tmp_path):
    assert read(tmp_path) == (None, [])
    assert read(tmp_path / "none") == (None, [])


@pytest.mark.parametrize(
    "name", ["net.pdparams", "rank_0_softmax_weight.pkl", "state.json", "backbone_momentum.pdparams"]
)
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_a_damaged_newest_checkpoint_is_said_and_the_one_before_taken(tmp_path, name, damage):
    save(tmp_path, 1)
    victim = save(tmp_path, 2) / name
    content = bytearray(victim.read_bytes())
    if damage == "delete":
        victim.unlink()
    else:
        content[len(content) // 2] ^= 1
        victim.write_bytes(bytes(content[: len(content) // 2] if damage == "truncate" else content))
    restored, said = read(tmp_path)
    assert_holds(restored, 1)
    assert len(said) == 1
    assert "step_00000002 is damaged" in said[0]
    assert name in said[0]


SHARD = {"start": 0, "rows": 6}
DESCRIBED = {"bytes": 1, "sha256": "a"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"step": -1}, "step is -1"),
        ({"step": 2**63}, f"step is {2**63}"),
        ({"step": True}, "step is True"),
        ({"num_classes": 6.0}, "num_classes is 6.0"),
        ({"epoch_images": None}, "epoch_images is None"),
        ({"network": ""}, "network or optimizer is no name"),
        ({"network": "../net"}, "network or optimizer is no name"),
        ({"network": "net\x1b"}, "network or optimizer is no name"),
        ({"optimizer": 1}, "network or optimizer is no name"),
        ({"world_size": 2}, "its shards are not those of 2 ranks"),
        ({"shards": {}}, "its shards are not those of 1 ranks"),
        ({"shards": [[0, 6]]}, "its shards are not those of 1 ranks"),
        ({"shards": [{**SHARD, "rows": -1}]}, "its shards are not those of 1 ranks"),
        ({"shards": [{**SHARD, "start": "0"}]}, "its shards are not those of 1 ranks"),
        ({"files": []}, "its list of files"),
        ({"files": {"a/b": DESCRIBED}}, "its list of files"),
        ({"files": {"a": {**DESCRIBED, "bytes": 1.5}}}, "its list of files"),
        ({"files": {"a": {**DESCRIBED, "sha256": None}}}, "its list of files"),
        ({"format": 0}, "format 0, this version reads"),
    ],
)
def test_a_manifest_with_something_that_is_never_written(tmp_path, changes, problem):
    folder = save(tmp_path, 2)
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {"step": 0, "shards": [SHARD], "files": {"a": DESCRIBED}}
    (folder / "manifest.json").write_text(json.dumps({**manifest, **kept}))
    assert checkpoint.read_manifest(folder)["step"] == 0
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    with pytest.raises(CheckpointError, match=f"cannot be read: {re.escape(problem)}"):
        checkpoint.read_manifest(folder)


def test_a_damaged_manifest(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "manifest.json").write_text('{"format": 1, "files"')
    restored, said = read(tmp_path)
    assert_holds(restored, 1)
    assert "damaged" in said[0]


def test_only_damaged_checkpoints_are_refused(tmp_path):
    (save(tmp_path, 1) / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints is sound"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "other"}, "made with network net, this run has other"),
        ({"embedding_size": 8}, "made with embedding_size 4, this run has 8"),
        ({"num_classes": 7}, "made with num_classes 6, this run has 7.*--pretrained"),
        ({"global_batch": 16}, "made with global_batch 8, this run has 16.*--global_batch_size"),
        ({"epoch_images": 99}, "made with epoch_images 100, this run has 99"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, change, message):
    save(tmp_path, 1)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path, dataclasses.replace(IDENTITY, **change))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    broken = snapshot(1)
    broken.shard.weight[3, 2] = np.nan
    save_checkpoint(tmp_path, broken, keep_last=1)
    with pytest.raises(CheckpointError, match=r"rank_0_softmax_weight\.pkl: .*1 values that are not finite"):
        read(tmp_path)


@pytest.mark.parametrize("moment", ["shard", "manifest", "rename"])
def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch, moment):
    save(tmp_path, 1)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if moment == "rename":
        monkeypatch.setattr(checkpoint, "_sync_folder", full)
        monkeypatch.setattr(checkpoint.os, "replace", full)
    else:
        monkeypatch.setattr(checkpoint, "write_bytes" if moment == "shard" else "write_json", full)
    with pytest.raises(CheckpointError, match=r"step_00000002.*No space left on device.*--resume 1"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert_holds(read(tmp_path)[0], 1)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step_00000001"]
    assert_holds_published(tmp_path, 1)
    save(tmp_path, 2)
    assert_holds(read(tmp_path)[0], 2)


def assert_holds_published(output: Path, step: int) -> None:
    published = read_state_dict(output / "net.pdparams")
    np.testing.assert_array_equal(published["conv.weight"], snapshot(step).backbone["conv.weight"])


class _KilledError(BaseException):
    """Stands for kill -9: nothing catches it, nothing is tidied up."""


def test_killed_at_every_write_of_a_save(tmp_path):
    """Die before the n-th file operation of a save, for all n: the run always resumes at step 1 or 2."""
    outcomes = []
    for moment in range(60):
        output = tmp_path / str(moment)
        save(output, 1)
        countdown = iter(range(moment, -1, -1))
        alive = _die_at_zero(countdown)
        try:
            save(output, 2)
            finished = True
        except _KilledError:
            finished = False
        alive.undo()
        clear_leftovers(output)
        restored, said = read(output)
        assert said == []
        assert restored.state.step in (1, 2)
        assert_holds(restored, restored.state.step)
        outcomes.append(restored.state.step)
        if finished:
            break
    assert finished
    assert outcomes[0] == 1
    assert outcomes[-1] == 2
    assert outcomes == sorted(outcomes)


def _die_at_zero(countdown):
    patch = pytest.MonkeyPatch()

    def dying(real):
        def act(*args, **kwargs):
            if next(countdown, 1) == 0:
                raise _KilledError
            return real(*args, **kwargs)

        return act

    for owner, name in ((os, "replace"), (os, "link"), (os, "fsync"), (checkpoint.shutil, "rmtree"), (os, "unlink")):
        patch.setattr(owner, name, dying(getattr(owner, name)))
    return patch


def test_leftovers_of_killed_saves_are_removed(tmp_path):
    save(tmp_path, 1)
    root = tmp_path / "checkpoints"
    (root / ".step_00000002.tmp").mkdir()
    (root / "step_00000009").mkdir()  # its manifest was never written
    (root / "notes").mkdir()
    clear_leftovers(tmp_path)
    assert sorted(path.name for path in root.iterdir()) == ["notes", "step_00000001"]


def test_publishing_again_leaves_nothing_beside_the_published_files(tmp_path):
    """The links are to the same files then, and renaming one onto the other does nothing, by POSIX."""
    folder = save(tmp_path, 1)
    before = sorted(path.name for path in tmp_path.iterdir())
    checkpoint.make_newest(tmp_path, folder, say=print)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_going_on_from_an_earlier_checkpoint_renames_the_damaged_ones(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    for step in (2, 3):
        (tmp_path / "checkpoints" / f"step_0000000{step}" / "state.json").write_text("{")
    restored, _ = read(tmp_path)
    said: list[str] = []
    checkpoint.make_newest(tmp_path, restored.source, say=said.append)
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1]
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"step_00000001", "damaged_step_00000002", "damaged_step_00000003"}
    assert len(said) == 2
    assert_holds_published(tmp_path, 1)


def published_folder(output: Path, *, shards: int = 2, momentum: bool = True) -> None:
    expected = snapshot(3)
    output.mkdir(exist_ok=True)
    write_state_dict(output / "net.pdparams", expected.backbone)
    for rank, rows in enumerate(np.array_split(np.arange(6), shards)):
        (output / f"rank:{rank}_softmax_weight.pkl").write_bytes(pickle.dumps(expected.shard.weight[rows], protocol=2))
        if momentum:
            content = safe_pickle.dump_array(expected.shard.momentum[rows])
            (output / f"rank:{rank}_softmax_weight_mom.pkl").write_bytes(content)


def test_a_folder_with_the_published_files_only(tmp_path):
    published_folder(tmp_path)
    restored, _ = read(tmp_path, rows=RowRange(1, 5))
    assert restored.state is None
    assert restored.backbone_momentum is None
    np.testing.assert_array_equal(restored.shard.weight, snapshot(3).shard.weight[1:5])
    np.testing.assert_array_equal(restored.shard.momentum, snapshot(3).shard.momentum[1:5])
    assert any("momentum of the backbone" in text for text in restored.missing)


def test_published_files_without_momentum_and_without_shards(tmp_path):
    published_folder(tmp_path / "a", momentum=False)
    restored, _ = read(tmp_path / "a")
    assert not restored.shard.momentum.any()
    assert "momentum of the class centres" in restored.missing
    published_folder(tmp_path / "b")
    for path in (tmp_path / "b").glob("*.pkl"):
        path.unlink()
    restored, _ = read(tmp_path / "b")
    assert restored.shard is None
    assert any("start at random" in text for text in restored.missing)


@pytest.mark.parametrize("optimizer", ["amsgrad", None])
def test_published_momentum_is_left_behind_where_it_means_nothing(tmp_path, optimizer):
    published_folder(tmp_path)
    restored, _ = read(tmp_path, dataclasses.replace(IDENTITY, optimizer=optimizer))
    np.testing.assert_array_equal(restored.shard.weight, snapshot(3).shard.weight)
    assert not restored.shard.momentum.any() and "momentum of the class centres" in restored.missing


def test_published_files_that_do_not_fit(tmp_path):
    published_folder(tmp_path, shards=3)
    with pytest.raises(CheckpointError, match="3 shards hold 6 class centres, the data has 7"):
        read(tmp_path, dataclasses.replace(IDENTITY, num_classes=7))
    with pytest.raises(CheckpointError, match=r"shape \(2, 4\); needed: \(2, 8\)"):
        read(tmp_path, dataclasses.replace(IDENTITY, embedding_size=8))
    with pytest.raises(CheckpointError, match=r"holds net\.pdparams but not other\.pdparams"):
        read(tmp_path, dataclasses.replace(IDENTITY, network="other"))
    (tmp_path / "rank:1_softmax_weight.pkl").unlink()
    with pytest.raises(CheckpointError, match="one in between is missing"):
        read(tmp_path)


def test_a_checkpoint_under_another_spelling_of_the_network_is_continued(tmp_path):
    """Earlier versions named files as the user had typed the network."""
    before, now = (dataclasses.replace(IDENTITY, network=name) for name in ("iResNet50", "iresnet50"))
    save_checkpoint(tmp_path, snapshot(1, before), keep_last=3)
    restored, _ = read(tmp_path, now)
    assert_holds(restored, 1)
    save_checkpoint(tmp_path, snapshot(2, now), keep_last=3)
    for name in ("iResNet50", "iresnet50"):  # scripts that read the old name get the newest weights too
        np.testing.assert_array_equal(
            read_state_dict(tmp_path / f"{name}.pdparams")["conv.weight"], snapshot(2).backbone["conv.weight"]
        )
    assert_holds(read(tmp_path, before)[0], 2)


def test_published_files_under_another_spelling_of_the_network_are_found(tmp_path):
    published_folder(tmp_path)
    (tmp_path / "net.pdparams").rename(tmp_path / "iResNet50.pdparams")
    restored, _ = read(tmp_path, dataclasses.replace(IDENTITY, network="iresnet50"))
    np.testing.assert_array_equal(restored.backbone["conv.weight"], snapshot(3).backbone["conv.weight"])


class _Payload:
    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("name", ["net.pdparams", "rank:1_softmax_weight.pkl", "rank:0_softmax_weight_mom.pkl"])
def test_a_payload_in_published_files_is_not_run(tmp_path, name):
    published_folder(tmp_path)
    victim = tmp_path / "made_by_payload"
    (tmp_path / name).write_bytes(pickle.dumps(_Payload(victim)))
    with pytest.raises(CheckpointError, match="mkdir"):
        read(tmp_path)
    assert not victim.exists()


def test_a_state_of_another_version_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="do not fit this version: novelty"):
        LoopState.from_json({**LoopState().to_json(), "novelty": 1}, name="state.json")


def test_advance_begins_a_new_epoch_when_no_full_step_is_left():
    state = LoopState()
    seen = []
    for _ in range(5):
        seen.append((state.step, state.epoch, state.sample))
        state.advance(images=4, epoch_images=11)
    assert seen == [(0, 0, 0), (1, 0, 4), (2, 1, 0), (3, 1, 4), (4, 2, 0)]


def test_published_names_are_legal_on_windows(monkeypatch):
    assert checkpoint.published_shard_name(3, momentum=True) == "rank:3_softmax_weight_mom.pkl"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.os, "name", "nt")
        name = checkpoint.published_shard_name(3, momentum=False)
    assert name == "rank_3_softmax_weight.pkl"
