"""The names of faces: stems are kept, no two faces share one, earlier runs are respected."""

import numpy as np

from arcface_paddle.data.face_names import face_names


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_faces_keep_the_stems_of_their_photographs(tmp_path):
    names = face_names(["a/1.jpg", "b/1.JPEG", "b/2.png", "x.y.webp", "plain", "a/1.jpg"], tmp_path)
    assert names.of == ["a/1.png", "b/1.png", "b/2.png", "x.y.png", "plain.png", "a/1.png"]
    assert names.renamed == () and not names.doubtful


def test_the_later_of_two_with_one_stem_keeps_its_suffix(tmp_path):
    names = face_names(["a.jpg", "a.png", "A.bmp", "a.jpg.tif", "b.jpg"], tmp_path)
    assert names.of == ["a.png", "a.png.png", "A.bmp.png", "a.jpg.png", "b.png"]
    assert names.renamed == (("a.png", "a.png.png", "a.jpg"), ("A.bmp", "A.bmp.png", "a.jpg"))
    assert names.doubtful == {"a.png"}
    put(tmp_path, *names.of)
    assert face_names(["a.jpg", "a.png", "A.bmp", "a.jpg.tif", "b.jpg"], tmp_path) == names


def test_every_face_has_a_name_of_its_own(tmp_path):
    generator = np.random.default_rng(0)
    for _ in range(200):
        parts = generator.choice(["a", "A", ".jpg", ".png", ".2"], (12, 4))
        photographs = list(dict.fromkeys("x" + "".join(row) + ".jpg"[: generator.integers(0, 2) * 4] for row in parts))
        put(tmp_path, *(f"{photograph}.png" for photograph in photographs if generator.integers(0, 8) == 0))
        faces = [name.casefold() for name in face_names(photographs, tmp_path).of]
        assert len(set(faces)) == len(photographs)


def test_faces_of_earlier_versions_stay_where_they_are(tmp_path):
    put(tmp_path, "a.jpg.png", "b.png", "c.jpg.png")
    (tmp_path / "c.jpg.png").write_bytes(b"")  # what a power cut can leave
    assert face_names(["a.jpg", "b.jpg", "c.jpg", "d.jpg"], tmp_path).of == ["a.jpg.png", "b.png", "c.png", "d.png"]
    # Beside each other they were two faces then, and are now.
    put(tmp_path, "e.jpg.png", "e.png")
    assert face_names(["e.jpg", "e.png"], tmp_path).of == ["e.jpg.png", "e.png"]
