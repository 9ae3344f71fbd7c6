"""Pages whose source lies outside docs/: the scripts of examples/, and how we build the library.

In docs/ they are linked as files, so that the links also hold where Markdown is read as it lies.
"""

import ast
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCUMENTS = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
SCRIPT = re.compile(r"\]\((?:\.\./)+examples/(\w+)\.py\)")
DOCUMENT = re.compile(r"\]\((?:\.\./)+(\w+\.md)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for script in sorted((ROOT / "examples").glob("*.py")):
        path = f"examples/{script.stem}.md"
        files.append(File.generated(config, path, content=script_page(script)))
    for source, path in DOCUMENTS.items():
        files.append(File.generated(config, path, content=(ROOT / source).read_text()))
    return files


def script_page(script: Path) -> str:
    """Return a script as a page: its docstring, then its code."""
    source = script.read_text()
    tree = ast.parse(source)
    first, _, rest = (ast.get_docstring(tree) or "").partition("\n\n")
    code = "".join(source.splitlines(keepends=True)[tree.body[0].end_lineno :]).strip()
    return f"# {script.name}\n\n**{first}**\n\n{rest}\n\n```python\n{code}\n```\n"


def on_page_markdown(markdown: str, page: Page, **kwargs: object) -> str:
    """Lead links to these files to their pages."""
    up = "../" * page.file.src_uri.count("/")
    markdown = SCRIPT.sub(rf"]({up}examples/\1.md)", markdown)
    return DOCUMENT.sub(
        lambda link: f"]({up}{DOCUMENTS[link[1]]})" if link[1] in DOCUMENTS else link[0], markdown
    )
