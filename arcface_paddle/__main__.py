"""``python -m arcface_paddle`` is the umbrella command."""

import sys

from arcface_paddle.cli.main import main

sys.exit(main())
