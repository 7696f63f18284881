"""How the documentation is built: `python -m sphinx -W docs docs/_build`."""

from polvo_adapters.version import __version__

project = "polvo_adapters"
author = "The polvo_adapters authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_use_rtype = False
napoleon_use_ivar = True
# The docstrings write `code` as Markdown does; in reStructuredText that is the default role.
default_role = "code"

html_theme = "furo"
html_title = f"polvo_adapters {release}"
