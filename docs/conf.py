"""Configuration of the documentation: `nox -s docs` builds it."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "_extensions"))

project = "spikax"
author = "The spikax authors"
copyright = "The spikax authors, Apache-2.0"

extensions = [
    "gallery",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "groupwise"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_rtype = False
# Names of others are not looked up: an inventory from the network would make the build depend on it.
# Ours that are not public are named in signatures only.
nitpick_ignore_regex = [("py:.*", r"(?!spikax).*"), ("py:.*", r"spikax_[\w.]+\._.*")]

# A type variable is written like the transpose of a matrix.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = "spikax"
