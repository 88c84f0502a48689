"""Build the documentation site: ``python docs/site/build.py [--language en] [--output dist/site]``.

Both languages go into folders of their own, and a page above them leads to the reader's. Nothing is fetched; a warning
is an error, after all of them were shown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent
LANGUAGES = ("en", "zh")
ENTRANCE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>arcface_paddle</title>
<script>location.replace((navigator.language || "en").startsWith("zh") ? "zh/index.html" : "en/index.html");</script>
</head><body><p><a href="en/index.html">English</a> · <a href="zh/index.html" lang="zh">中文</a></p></body></html>
"""


def start(language: str, output: Path) -> subprocess.Popen[bytes]:
    """Start to build one language into ``output/LANGUAGE``."""
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-E", "-b", "html", "-t", language]
    command += ["-d", str(output / ".doctrees" / language), "-c", str(SITE), str(SITE / language)]
    return subprocess.Popen([*command, str(output / language)], env={**os.environ, "GLOG_minloglevel": "2"})


def main() -> int:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--language", choices=LANGUAGES, help="one language only (default: both)")
    parser.add_argument("--output", type=Path, default=SITE.parents[1] / "dist" / "site", help="default: dist/site")
    args = parser.parse_args()
    running = [start(language, args.output) for language in LANGUAGES if args.language in (None, language)]
    codes = [process.wait() for process in running]
    (args.output / "index.html").write_text(ENTRANCE, encoding="utf-8")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
