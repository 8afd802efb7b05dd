"""How the documentation is built: by `tox -e docs`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# The tables are those of the source tree that these pages stand in, whatever else is installed.
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from raccoon_tx._version import __version__  # noqa: E402
from raccoon_tx.metrics.counts import BOUNDS, SESSION_BOUNDS  # noqa: E402

project = "raccoon_tx"
author = "the raccoon_tx authors"
version = release = __version__

extensions = ["myst_parser", "sphinx_copybutton", "raccoon_reference", "raccoon_api"]
exclude_patterns = ["_build"]
nitpicky = True
# Two dashes begin a flag, and quotes stand in commands.
smartquotes = False

myst_enable_extensions = ["colon_fence", "deflist", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {
    "bounds": ", ".join(map(str, BOUNDS)),
    "session_bounds": ", ".join(map(str, SESSION_BOUNDS)),
}

html_theme = "furo"
html_title = f"raccoon_tx {release}"
html_static_path = ["_static"]
html_css_files = ["raccoon.css"]
html_copy_source = False
html_show_sphinx = False
