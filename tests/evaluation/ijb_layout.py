"""A small data set in the public layout of IJB-C: painted "people", several media per template, two galleries."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from arcface_paddle import images

TEMPLATE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def write_ijb(folder, *, prefix="ijbc", people=8, seed=0):
    """Write the layout and return {picture: (subject, template, medium)}.

    Each person has one gallery template (G1 for the first half, G2 for the others) of one medium with two pictures
    and two probe templates of two media, one of them with three pictures.
    """
    generator = np.random.default_rng(seed)
    meta, crops = Path(folder) / "meta", Path(folder) / "loose_crop"
    meta.mkdir(parents=True)
    crops.mkdir()
    names = ("S1", "S2") if prefix == "ijbb" else ("G1", "G2")
    lists = {name: ["TEMPLATE_ID,SUBJECT_ID,FILENAME"] for name in (*names, "probe")}
    rows, points, template_subject = {}, [], {}
    patterns = generator.integers(0, 256, (people, 7, 7, 3), dtype=np.uint8)
    medium = 100
    for subject in range(people):
        for kind, media_sizes in (("gallery", (2,)), ("probe", (1, 3)), ("probe", (3, 1))):
            template = len(template_subject) * 3 + 1
            template_subject[template] = subject
            for size in media_sizes:
                medium += 1
                for _ in range(size):
                    name = f"{len(rows) + 1}.jpg"
                    landmarks = paint(crops / name, patterns[subject], generator)
                    score = generator.uniform(0.5, 1)
                    points.append(" ".join([name, *(f"{v:.3f}" for v in landmarks.reshape(-1)), f"{score:.3f}"]))
                    rows[name] = (subject, template, medium)
                    target = names[subject >= people // 2] if kind == "gallery" else "probe"
                    lists[target].append(f"{template},{subject},frames/{name}")
    (meta / f"{prefix}_face_tid_mid.txt").write_text("".join(f"{n} {t} {m}\n" for n, (_, t, m) in rows.items()))
    (meta / f"{prefix}_name_5pts_score.txt").write_text("\n".join(points) + "\n")
    templates = list(template_subject)
    pairs = [(a, b) for i, a in enumerate(templates) for b in templates[i + 1 :]]
    (meta / f"{prefix}_template_pair_label.txt").write_text(
        "".join(f"{a} {b} {int(template_subject[a] == template_subject[b])}\n" for a, b in pairs)
    )
    for name in names:
        (meta / f"{prefix}_1N_gallery_{name}.csv").write_text("\n".join(lists[name]) + "\n")
    (meta / f"{prefix}_1N_probe_mixed.csv").write_text("\n".join(lists["probe"]) + "\n")
    return rows


def paint(path, pattern, generator):
    """Paint a person's 112x112 pattern, noisy, turned and scaled, into a picture; return its five points there."""
    face = cv2.resize(pattern, (112, 112), interpolation=cv2.INTER_CUBIC).astype(np.float64)
    face = np.clip(face + generator.normal(0, 40, face.shape), 0, 255).astype(np.uint8)
    matrix = cv2.getRotationMatrix2D((56, 56), generator.uniform(-30, 30), generator.uniform(0.8, 1.6))
    matrix[:, 2] += generator.uniform(30, 60, 2)
    picture = cv2.warpAffine(face, matrix, (230, 210))
    images.write_image(path, picture)
    return TEMPLATE_POINTS @ matrix[:, :2].T + matrix[:, 2]
