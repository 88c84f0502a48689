"""One call that writes any dataset in any layout."""

import numpy as np
import pytest
from published_layouts import write_image_set

from arcface_paddle.data import open_dataset
from arcface_paddle.data.layouts import LAYOUTS, convert_dataset
from arcface_paddle.data.writing import refuse_target_in_source
from arcface_paddle.errors import ConfigError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_and_goes_on(tmp_path, layout):
    pictures = write_image_set(tmp_path / "in", [0, 0, 1, 2])
    source = open_dataset(tmp_path / "in")
    done = []
    report = convert_dataset(source, tmp_path / "out", layout=layout, progress=done.append)
    assert (report.written, report.unchanged, report.bad) == (4, 0, ()) and sum(done) == 4
    converted = open_dataset(tmp_path / "out")
    assert [converted.read_encoded(index) for index in range(4)] == pictures
    np.testing.assert_array_equal(converted.labels, source.labels)
    again = convert_dataset(source, tmp_path / "out", layout=layout)
    assert (again.written, again.unchanged) == (0, 4)


def test_size_of_shards(tmp_path):
    write_image_set(tmp_path / "in", [0, 1, 2, 3])
    source = open_dataset(tmp_path / "in")
    convert_dataset(source, tmp_path / "small", layout="packed", shard_bytes=6000)
    convert_dataset(source, tmp_path / "large", layout="packed")
    assert len(list((tmp_path / "small").glob("*.tar"))) > 1 == len(list((tmp_path / "large").glob("*.tar")))


def test_what_has_no_meaning_is_refused(tmp_path):
    write_image_set(tmp_path / "in", [0, 1])
    source = open_dataset(tmp_path / "in")
    with pytest.raises(ConfigError, match="layout 'zip'; allowed: bin, image, folder, recordio, packed"):
        convert_dataset(source, tmp_path / "out", layout="zip")
    with pytest.raises(ConfigError, match="shard_bytes is 5, but the layout 'bin' has no shards"):
        convert_dataset(source, tmp_path / "out", layout="bin", shard_bytes=5)
    assert not (tmp_path / "out").exists()


def test_a_dataset_is_not_written_into_itself(tmp_path):
    write_image_set(tmp_path / "listed", [0, 1])
    write_image_set(tmp_path / "tree/person", [0])
    (tmp_path / "tree/person/label.txt").unlink()
    listed, tree = open_dataset(tmp_path / "listed"), open_dataset(tmp_path / "tree")
    for dataset, target in ((listed, "listed"), (tree, "tree"), (tree, "tree/packed"), (tree, "other/../tree/x")):
        with pytest.raises(ConfigError, match="lies in the dataset"):
            refuse_target_in_source(dataset, tmp_path / target)
    # What a label file does not list is no sample, so a folder beside the pictures does no harm.
    refuse_target_in_source(listed, tmp_path / "listed/packed")
    refuse_target_in_source(tree, tmp_path / "tree2")
