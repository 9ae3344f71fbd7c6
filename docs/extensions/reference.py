"""The reference is written from the stubs, which say what is public: one page per object.

What public functions return has a page too, by the name of the file that defines it.

A page holds ``::: neuralcollapse.PACKAGE``. It becomes a list for each module, under the question
that its docstring answers, of links to the pages of the objects, which are written to
``reference/api/``. ``::: neuralcollapse`` itself becomes a table of the front door,
``::: neuralcollapse.cli`` the commands, ``::: neuralcollapse.studies.PAPER`` a table of that
paper's claims, ``::: neuralcollapse.metrics.catalogue`` the metrics of a report, and
``::: neuralcollapse.glossary`` the glossary.
"""

import ast
import functools
import importlib
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from formulas import stated, typeset
from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
SOURCE = DOCS.parent / "src"
API = DOCS / "reference/api"
FOREIGN = "Module, Metric, tuple, dict, UserWarning"  # bases whose members are not ours to list
DIRECTIVE = re.compile(r"^::: (neuralcollapse[\w.]*)$", re.MULTILINE)
FILE = re.compile(r"\]\((?:\.\./)+(examples/(\w+)\.py|(CONTRIBUTING|CHANGELOG)\.md)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages of objects before Sphinx looks for pages, and expand those that it reads."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", expand)
    app.connect("html-page-context", list_parameters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def write_pages(app: Sphinx) -> None:
    """Write a page for each public object."""
    shutil.rmtree(API, ignore_errors=True)
    API.mkdir()
    for path in public_paths():
        (API / f"{path}.rst").write_text(_object_page(path))


def public_paths() -> list[str]:
    """Return every object that has a page: those with a public name, and what these return."""
    return [*named_paths(), *returned_paths()]


@functools.cache
def named_paths() -> list[str]:
    """Return every public object once, by the first of its names as users write them."""
    packages = sorted(stub.parent.name for stub in (SOURCE / "neuralcollapse").glob("*/*.pyi"))
    names = ["neuralcollapse", *(f"neuralcollapse.{package}" for package in packages)]
    seen: set[str] = set()
    paths = [path for name in names for path, _ in _names_once(name, seen)]
    return list({id(_object(path)): path for path in reversed(paths)}.values())[::-1]


@functools.cache
def returned_paths() -> list[str]:
    """Return the classes that public functions return and that have no public name themselves."""
    named = {id(_object(path)) for path in named_paths()}
    modules = ((name, sys.modules[_object(path).__module__]) for name, path in _returns())
    found = [getattr(module, name, None) for name, module in modules]  # decorated or not
    ours = [
        each
        for each in dict.fromkeys(filter(inspect.isclass, found))
        if each.__module__.startswith("neuralcollapse.") and id(each) not in named
    ]
    return [f"{each.__module__}.{each.__qualname__}" for each in ours]


@functools.cache
def _object(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@functools.cache
def _makers() -> dict[str, list[str]]:
    """Return the functions that return an object of a class, by the name of the class."""
    found: dict[str, list[str]] = {}
    for name, path in _returns():
        found.setdefault(name, []).append(path)
    return found


def _returns() -> Iterator[tuple[str, str]]:
    """Yield each name in what a public function returns, and the function."""
    for path in named_paths():
        if inspect.isfunction(_object(path)):
            returned = str(_object(path).__annotations__.get("return", ""))
            yield from ((name, path) for name in re.findall(r"\w+", returned))


def expand(app: Sphinx, document: str, source: list[str]) -> None:
    """Expand each package that a page names, and lead links to files beside docs/ to pages."""
    text = DIRECTIVE.sub(lambda found: expanded(found[1]), source[0])
    up = "../" * document.count("/")
    if document.startswith("theory/"):
        text = typeset(text)
    source[0] = FILE.sub(
        lambda found: (
            f"]({up}gallery/{found[2]}.rst" if found[2] else f"]({up}about/{found[3].lower()}.md"
        ),
        text,
    )


def list_parameters(app: Sphinx, page: str, template: str, context: dict, tree: Any) -> None:
    """Make the lines of a signature blocks: Sphinx makes them definitions without terms."""
    lines = re.compile(r"<dl>\n((?:<dd>.*</dd>\n)+)</dl>")
    context["body"] = lines.sub(
        lambda found: re.sub(r"<(/?)dd>", r"<\1div>", found[1]), context.get("body", "")
    )


def _object_page(path: str) -> str:
    """Return what Sphinx expands to the page of an object, and the scripts that use it."""
    name, value = path.rpartition(".")[2], _object(path)
    if inspect.isclass(value):
        body = f".. autoclass:: {path}\n   :members:\n   :inherited-members: {FOREIGN}\n"
        if makers := _makers().get(name):
            body += "\nReturned by " + ", ".join(f":py:func:`~{maker}`" for maker in makers) + ".\n"
    elif callable(value):
        body = f".. autofunction:: {path}\n"
    else:
        keys = ", ".join(f"``{key}``" for key in value)
        body = f".. py:data:: {path}\n\n   A mapping with the keys {keys}.\n\n"
        body += f"   >>> from {path.rpartition('.')[0]} import {name}\n"
        body += f"   >>> {next(iter(value))!r} in {name}\n   True\n"
    return (
        f"{name}\n{'=' * len(name)}\n\n{body}\n"
        f".. minigallery:: {path}\n   :add-heading: Scripts that use it\n   :heading-level: -\n"
    )


def expanded(package: str) -> str:
    """Return the Markdown that lists a package's public names."""
    if package == "neuralcollapse":
        return "\n".join(_front_door())
    if package == "neuralcollapse.cli":
        return "\n".join(_commands())
    if package == "neuralcollapse.metrics.catalogue":
        return "\n".join(_metrics())
    if package == "neuralcollapse.glossary":
        return "\n".join(_glossary())
    if package.startswith("neuralcollapse.studies."):
        return "\n".join(_claims(package.rpartition(".")[2]))
    return "\n".join(_package(package))


def public_names(package: str) -> dict[str, str]:
    """Return the dotted path of each public name of a package, as its stub lists them."""
    stub = ast.parse((folder(package) / "__init__.pyi").read_text())
    return {
        alias.name: ".".join(filter(None, [package, line.module, alias.name]))
        for line in stub.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }


def folder(path: str) -> Path:
    """Return the place of a package, or of a module without its suffix."""
    return SOURCE.joinpath(*path.split("."))


def _metrics() -> Iterator[str]:
    """List the catalogue; it holds functions, so it is imported, unlike all else here."""
    from neuralcollapse.metrics.catalogue import CATALOGUE

    group = None
    for metric in CATALOGUE.values():
        if metric.group != group:
            group = metric.group
            yield f"\n### {group}\n\n| metric | formula | says | caveat |\n|---|---|---|---|"
        cells = (f"`{metric.name}`", metric.formula, metric.note, metric.caveat)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _glossary() -> Iterator[str]:
    """List the terms with their meanings."""
    from neuralcollapse.glossary import GLOSSARY

    yield "```{glossary}"
    for term in GLOSSARY:
        yield f"{term.name}\n  {term.meaning}\n"
    yield "```"


def _front_door() -> Iterator[str]:
    yield "| name | what it does |"
    yield "|---|---|"
    for name, path in public_names("neuralcollapse").items():
        target = f"{name}.md" if folder(path).is_dir() else f"api/neuralcollapse.{name}.rst"
        yield f"| [`nc.{name}`]({target}) | {_first_line(path)} |"


def _package(package: str) -> Iterator[str]:
    """List the names of a package, and of those within it, under what their modules answer."""
    modules: dict[str, list[str]] = {}
    for path, definition in _names_once(package, set()):
        if path in named_paths():
            modules.setdefault(definition.rpartition(".")[0], []).append(path)
    for path in returned_paths():
        if path.startswith(f"{package}."):
            modules.setdefault(path.rpartition(".")[0], []).append(path)
    for module, paths in modules.items():
        yield f"\n## {_first_line(module).removesuffix('.')}\n"
        for path in paths:
            shown = path.removeprefix(f"{package}.").replace("neuralcollapse.", "nc.")
            yield f"- [`{shown}`](api/{path}.rst): {_first_line(path)}"
    yield "\n```{toctree}\n:hidden:\n"
    yield from (f"api/{path}" for paths in modules.values() for path in paths)
    yield "```"


def _names_once(package: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each public name as users write it and as it is defined, nested packages last."""
    for name, path in public_names(package).items():
        definition = _definition(path)
        if not folder(path).is_dir() and definition not in seen:
            seen.add(definition)
            front = _definition(public_names("neuralcollapse").get(name, "")) == definition
            yield f"{'neuralcollapse' if front else package}.{name}", definition
    for stub in sorted(folder(package).glob("*/__init__.pyi")):
        if package != "neuralcollapse":
            yield from _names_once(f"{package}.{stub.parent.name}", seen)


def _definition(path: str) -> str:
    """Follow a name through the stubs to the module that defines it."""
    parent, _, name = path.rpartition(".")
    if (folder(parent) / "__init__.pyi").exists() and not folder(path).is_dir():
        return _definition(public_names(parent)[name])
    return path


def _first_line(path: str) -> str:
    """Return the first line of the docstring at a path, empty where there is none."""
    if folder(path).is_dir():
        tree: Any = ast.parse((folder(path) / "__init__.py").read_text())
    elif folder(path).with_suffix(".py").exists():
        tree = ast.parse(folder(path).with_suffix(".py").read_text())
    else:
        module, _, name = _definition(path).rpartition(".")
        body = ast.parse(folder(module).with_suffix(".py").read_text()).body
        tree = next((node for node in body if getattr(node, "name", None) == name), None)
    text = ast.get_docstring(tree) if tree is not None else None
    return _one_line(text.partition("\n\n")[0]).replace("\\`\\`", "`") if text else ""


def _commands() -> Iterator[str]:
    """List each command with its arguments and options, from the application itself."""
    from typer.main import get_command

    from neuralcollapse.cli import app

    commands: dict[str, Any] = vars(get_command(app))["commands"]  # an application is a group
    for name, command in commands.items():
        about = "\n\n".join(map(_one_line, (command.help or "").split("\n\n")))
        yield f"\n## neuralcollapse {name}\n\n{about}\n"
        yield "| option | what | if omitted |\n|---|---|---|"
        for parameter in command.params:
            option = parameter.param_type_name == "option"
            words = ", ".join(
                f"`{word}`" for word in (parameter.opts if option else [parameter.name])
            )
            about = _one_line(getattr(parameter, "help", None))
            yield f"| {words} | {about} | {_omitted(parameter)} |"


def _omitted(parameter: Any) -> str:
    """Return what a parameter is if it is not given, as the help says it."""
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return _one_line(shown)
    return "" if parameter.default in (None, False) else _one_line(str(parameter.default))


def _one_line(text: str | None) -> str:
    """Return text for a cell of a table, as it is: its asterisks and angles are no markup."""
    words = " ".join((text or "").split())
    return re.sub(r"([|*_\[\]`])", r"\\\1", words.replace("<", "&lt;"))


def _claims(paper: str) -> Iterator[str]:
    """List the claims of a paper, with what each needed."""
    from neuralcollapse.studies import load_study

    yield "| claim | statement | what it needed |\n|---|---|---|"
    for claim in load_study(paper).claims:
        needed = "not in the paper" if claim.statement.startswith("Ours") else "stands as stated"
        if claim.correction:
            needed = stated(_one_line(claim.correction))
        statement = stated(_one_line(claim.statement))
        yield f"| `{claim.id.partition('.')[2]}` | {statement} | {needed} |"
