"""Settings of the documentation site, shared by both languages; ``build.py`` names the language with a tag."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.util.tags import Tags

    tags: Tags  # put here by Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))
sys.path.insert(0, str(HERE.parents[1]))

from arcface_paddle import __version__  # noqa: E402

project = "arcface_paddle"
author = "the authors of arcface_paddle"
version = release = __version__

CHINESE = tags.has("zh")  # noqa: F821
language = "zh_CN" if CHINESE else "en"
html_search_language = "zh" if CHINESE else "en"
copyright = "arcface_paddle 的作者，许可证 Apache-2.0" if CHINESE else f"{author}, licence Apache-2.0"  # noqa: A001
html_title = "arcface_paddle"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "blocks",
    "chinese_search",
    "drawings",
    "generated",
    "plots",
    "summaries",
    "twins",
    "wide_tables",
]
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
root_doc = "index"
exclude_patterns = ["**/_*"]
nitpicky = True
smartquotes = False  # which makes one dash of the two of a flag
# Types in signatures: those of other packages have no page here (the site is built without a network), and those of our
# rooms are pages of their own kind, see reference_python.
nitpick_ignore_regex = [(r"py:.*", r".*")]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88
toc_object_entries = False  # the pages of rooms have hundreds of names

html_theme = "furo"
if CHINESE:
    template_bridge = "theme_words.ChineseTemplates"
html_static_path = [str(HERE / "static")]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
