"""How Sphinx builds the site: `make docs`, or cheaply, its scripts not run: `-D plot_gallery=0`."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import neuralcollapse

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

project = "neuralcollapse"
author = "the authors of neuralcollapse"
version = release = neuralcollapse.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "formulas",
    "pictures",
    "reference",
]
exclude_patterns = ["extensions", "scripts"]
templates_path = ["_templates"]

# Pages are Markdown, which GitHub shows as well; docstrings are reStructuredText.
myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

html_math_renderer = "drawn"
default_role = "py:obj"  # a link where there is such an object, code otherwise
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 72
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
napoleon_preprocess_types = True

# The gallery runs a copy of the scripts, so that what they write lies there and not beside them.
SCRIPTS = HERE / "scripts"
shutil.rmtree(SCRIPTS, ignore_errors=True)
shutil.copytree(HERE.parent / "examples", SCRIPTS)
not_here = [
    script
    for script, needs in (("file_types", "magika"), ("pitch", "torchcrepe"))
    if find_spec(needs) is None
]
os.environ["COLUMNS"] = "96"  # of what scripts print
sphinx_gallery_conf = {
    "reset_modules": ("matplotlib", "pictures.without_places"),
    "examples_dirs": "scripts",
    "gallery_dirs": "gallery",
    "filename_pattern": rf"/(?!{'|'.join(not_here)})\w+\.py$" if not_here else r"\.py$",
    "backreferences_dir": "reference/uses",
    "doc_module": ("neuralcollapse",),
    "image_scrapers": ("pictures.written_pictures",),
    "abort_on_example_error": True,
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "download_all_examples": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "neuralcollapse"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["404.html"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_sidebars = {"index": [], "gallery/*": [], "reference/api/*": []}  # wide enough for code
html_theme_options = {
    "logo": {"text": "neuralcollapse"},
    "navigation_with_keys": False,
    "navigation_depth": 1,
    "show_prev_next": False,
    "header_links_before_dropdown": 7,
    "navbar_align": "left",
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = "the authors of neuralcollapse, Apache-2.0"
suppress_warnings = ["config.cache"]
