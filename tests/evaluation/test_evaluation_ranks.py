"""Which process reports, and which GPU it takes."""

from __future__ import annotations

import pytest

from arcface_paddle.evaluation.ranks import device_of_rank, is_main, joined_ranks


class Rank:
    def __init__(self, number: int) -> None:
        self.number = number

    def rank(self) -> int:
        return self.number


def test_the_first_process_reports() -> None:
    assert is_main(None) and is_main(Rank(0)) and not is_main(Rank(1))


@pytest.mark.parametrize(
    ("given", "asked", "device"),
    [("3", "gpu", "gpu:3"), ("3,5", "gpu", "gpu:3"), ("3", "gpu:1", "gpu:1"), ("3", "cpu", "cpu"), ("", "gpu", "gpu")],
)
def test_the_launcher_chooses_a_gpu_that_the_user_has_not(
    monkeypatch: pytest.MonkeyPatch, given: str, asked: str, device: str
) -> None:
    monkeypatch.setenv("FLAGS_selected_gpus", given)
    assert device_of_rank(asked) == device


def test_without_a_launcher_there_is_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    with joined_ranks("cpu") as ranks:
        assert ranks is None
