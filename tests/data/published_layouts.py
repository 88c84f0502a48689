"""Writers of the published layouts, made from the description of the formats alone (no code of the package)."""

import pickle
import struct

import cv2
import numpy as np


def face_jpeg(number, side=112, quality=90):
    """A smooth picture that differs by number."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (7, 7, 3), dtype=np.uint8)
    picture = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def bin_bytes(key, content, protocol):
    value = pickle.dumps(content, protocol)
    return struct.pack("<I", len(key)) + key + struct.pack("<I", len(value)) + value


def write_bin_set(root, labels, protocol=4, pictures=None):
    """MS1M_bin: images/00000000.bin and label.txt; returns the pictures."""
    pictures = pictures or [face_jpeg(number) for number in range(len(labels))]
    (root / "images").mkdir(parents=True)
    with open(root / "label.txt", "w", newline="") as label_file:
        for number, (label, picture) in enumerate(zip(labels, pictures)):
            name = f"{number:08d}"
            (root / "images" / f"{name}.bin").write_bytes(bin_bytes(f"{name}.jpg".encode(), picture, protocol))
            label_file.write(f"images/{name}.bin\t{label}\n")
    return pictures


def write_image_set(root, labels, pictures=None):
    pictures = pictures or [face_jpeg(number) for number in range(len(labels))]
    (root / "images").mkdir(parents=True)
    lines = []
    for number, (label, picture) in enumerate(zip(labels, pictures)):
        (root / "images" / f"{number:08d}.jpg").write_bytes(picture)
        lines.append(f"images/{number:08d}.jpg\t{label}\n")
    (root / "label.txt").write_text("".join(lines))
    return pictures


def rec_record(payload):
    """One record of dmlc RecordIO; a payload with the magic at an aligned place is cut there."""
    magic = struct.pack("<I", 0xCED7230A)
    parts, last = [], 0
    for position in range(0, len(payload) - 3, 4):
        if payload[position : position + 4] == magic:
            parts.append(payload[last:position])
            last = position + 4
    parts.append(payload[last:])
    out = b""
    for number, part in enumerate(parts):
        flag = 0 if len(parts) == 1 else 1 if number == 0 else 3 if number == len(parts) - 1 else 2
        out += magic + struct.pack("<I", flag << 29 | len(part)) + part
        out += b"\0" * ((4 - len(part) % 4) % 4)
    return out


def ir_header(labels, identifier):
    if isinstance(labels, (int, float)):
        return struct.pack("<IfQQ", 0, labels, identifier, 0)
    return struct.pack("<IfQQ", len(labels), 0, identifier, 0) + struct.pack(f"<{len(labels)}f", *labels)


def write_rec_set(root, labels, pictures=None, *, ranges=True, index=True, image_labels=None):
    """train.rec, train.idx, property as insightface packs them; ``labels`` must be grouped."""
    root.mkdir(parents=True, exist_ok=True)
    pictures = pictures or [face_jpeg(number) for number in range(len(labels))]
    groups = sorted(set(labels))
    count = len(labels)
    records = {}
    if ranges:
        records[0] = ir_header([count + 1, count + 1 + len(groups)], 0)
    for number, (label, picture) in enumerate(zip(labels, pictures)):
        shown = image_labels(label) if image_labels else label
        records[number + 1] = ir_header(shown, number + 1) + picture
    if ranges:
        for place, group in enumerate(groups):
            first = labels.index(group) + 1
            records[count + 1 + place] = ir_header([first, first + labels.count(group)], count + 1 + place)
    content, lines = b"", []
    for key, payload in records.items():
        lines.append(f"{key}\t{len(content)}\n")
        content += rec_record(payload)
    (root / "train.rec").write_bytes(content)
    if index:
        (root / "train.idx").write_text("".join(lines))
    (root / "property").write_text(f"{len(groups)},112,112\n")
    return pictures
