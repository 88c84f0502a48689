"""One training a folder: the second is refused, and nothing is left of a folder that stayed empty."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from arcface_paddle.errors import ConfigError
from arcface_paddle.training.sole_writer import sole_writer


def test_a_folder_is_made_and_goes_again_if_nothing_came_into_it(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with sole_writer(folder):
        assert folder.is_dir()
    assert list(tmp_path.iterdir()) == []
    with sole_writer(folder):
        (folder / "training.log").write_text("")
    assert (folder / "training.log").is_file()
    (tmp_path / "there").mkdir()
    with sole_writer(tmp_path / "there"):
        pass
    assert (tmp_path / "there").is_dir()  # it is not ours


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks no folders")
@pytest.mark.parametrize("without_input", [False, True])
def test_a_second_training_is_refused_until_the_first_ends(tmp_path: Path, without_input: bool) -> None:
    """Also where standard input is closed, so that the folder gets its number."""
    kept = os.dup(0)
    try:
        if without_input:
            os.close(0)
        with sole_writer(tmp_path):
            with (
                pytest.raises(ConfigError, match="another training writes into the output folder"),
                sole_writer(tmp_path),
            ):
                pass
            with pytest.raises(ConfigError, match="another training writes"), sole_writer(tmp_path):
                pass  # whoever was refused has not let go of the first one's lock
        with sole_writer(tmp_path):
            pass
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write to the output folder"), sole_writer(tmp_path / "file" / "out"):
        pass
