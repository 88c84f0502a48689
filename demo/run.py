"""The demonstration behind ``make demo``: every step is a command that a user could type, printed before it runs.

    python demo/run.py --output output [--skip_training]

Photographs: build a gallery, recognise the queries, check the names against what is known to be true.
Training: render synthetic identities, train on two processes, validate on held-out people, export, and recognise with
the exported model.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXPECTED = {
    "obama_speech_2009.jpg": ["Barack Obama"],
    "obama_blue_room.jpg": ["Barack Obama"],
    "biden_relit.jpg": ["Joe Biden"],
    "hopper_relit.jpg": ["Grace Hopper"],
    "stranger_collins.jpg": ["unknown"],
    "group.jpg": ["Barack Obama", "Grace Hopper", "Joe Biden", "unknown"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder for everything that is written")
    parser.add_argument("--skip_training", action="store_true", help="photographs only (half a minute)")
    args = parser.parse_args()
    start = time.monotonic()
    args.output.mkdir(parents=True, exist_ok=True)
    recognise_photographs(args.output)
    if not args.skip_training:
        train_and_use(args.output)
    print(f"\nDone in {time.monotonic() - start:.0f} s. Look at {args.output}/: annotated pictures, reports, curves.")
    return 0


def recognise_photographs(output: Path) -> None:
    title("1. Photographs in, named faces out")
    gallery, result = output / "gallery.index", output / "recognised.json"
    photographs = HERE / "gallery"
    run("test_recognition", f"--build_index={gallery}", f"--img_dir={photographs}", f"--label={photographs}/label.txt")
    run(
        "test_recognition",
        *("--det", "--rec", f"--index={gallery}", f"--input={HERE / 'queries'}"),
        *(f"--output={output / 'recognised'}", f"--json={result}"),
    )
    check_names(result)


def check_names(result: Path) -> None:
    """Compare the names in the JSON output with the truth; a wrong one ends the demonstration."""
    found = {}
    for image in json.loads(result.read_text(encoding="utf-8"))["images"]:
        found[Path(image["source"]).name] = sorted(face["name"] for face in image["faces"])
    wrong = {name: found.get(name) for name, people in EXPECTED.items() if found.get(name) != people}
    if wrong:
        sys.exit(f"these pictures were not recognised as they should be: {wrong}")
    faces = sum(map(len, EXPECTED.values()))
    print(f"All {faces} faces of {len(EXPECTED)} pictures found and named as they should be, the stranger as unknown.")


def train_and_use(output: Path) -> None:
    raise SystemExit("filled in by the training step")


def run(command: str, *arguments: str) -> None:
    """Print a command and run it; its failure ends the demonstration with its exit code."""
    shown = shlex.join([command, *arguments])
    print(f"\n$ {shown}", flush=True)
    program = Path(sys.executable).with_name(command)
    status = subprocess.run([str(program), *arguments], check=False).returncode
    if status:
        sys.exit(f"exit code {status} from: {shown}")


def title(text: str) -> None:
    print(f"\n=== {text} ===", flush=True)


if __name__ == "__main__":
    sys.exit(main())
