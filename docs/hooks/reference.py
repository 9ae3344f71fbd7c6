"""Reference pages are written from the stubs, which say what is public.

A page holds ``::: neuralcollapse.PACKAGE``; each public name is put in its place, under the module
that defines it, once. Names of nested packages follow. ``::: neuralcollapse`` itself becomes a
table of the front door, which links to them, ``::: neuralcollapse.cli`` the commands, and
``::: neuralcollapse.studies.PAPER`` a table of that paper's claims, and
``::: neuralcollapse.metrics.catalogue`` the metrics of a report.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
DIRECTIVE = re.compile(r"^::: (neuralcollapse[\w.]*)$", re.MULTILINE)


def on_page_markdown(markdown: str, **kwargs: object) -> str:
    """Expand each package that a page names."""
    return DIRECTIVE.sub(lambda found: expanded(found[1]), markdown)


def expanded(package: str) -> str:
    """Return the Markdown that lists a package's public names."""
    if package == "neuralcollapse":
        return "\n".join(_front_door())
    if package == "neuralcollapse.cli":
        return "\n".join(_commands())
    if package == "neuralcollapse.metrics.catalogue":
        return "\n".join(_metrics())
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


def _front_door() -> Iterator[str]:
    yield "| name | what it does |"
    yield "|---|---|"
    defined_here = []
    for name, path in public_names("neuralcollapse").items():
        target = f"({name}.md)" if folder(path).is_dir() else f"[{_definition(path)}]"
        yield f"| [`nc.{name}`]{target} | {_first_line(path)} |"
        if not folder(path).is_dir() and not _in_a_package(path):
            defined_here.append(path)
    for path in defined_here:
        yield f"\n::: {path}\n    options:\n      heading_level: 2\n"


def _package(package: str) -> Iterator[str]:
    """List the names of a package, and of those within it, under the module that defines them."""
    modules: dict[str, list[str]] = {}
    for user_path, definition in _names_once(package, set()):
        modules.setdefault(definition.rpartition(".")[0], []).append(
            # The anchor is the name as users write it.
            f"[](){{#{user_path}}}\n::: {definition}\n    options:\n      heading_level: 3\n"
        )
    for module, entries in modules.items():
        yield f"\n## {module.removeprefix(package + '.')}\n\n{_first_line(module)}\n"
        yield from entries


def _names_once(package: str, seen: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each public name as users write it and as it is defined, nested packages last."""
    for name, path in public_names(package).items():
        definition = _definition(path)
        if not folder(path).is_dir() and definition not in seen:
            seen.add(definition)
            yield f"{package}.{name}", definition
    for stub in sorted(folder(package).glob("*/__init__.pyi")):
        yield from _names_once(f"{package}.{stub.parent.name}", seen)


def _in_a_package(path: str) -> bool:
    return folder(path.rpartition(".")[0]).is_dir()


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
    return text.partition("\n\n")[0].replace("\n", " ") if text else ""


def _commands() -> Iterator[str]:
    """List each command with its arguments and options, from the application itself."""
    from typer.main import get_command

    from neuralcollapse.cli import app

    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        about = "\n\n".join(map(_one_line, (command.help or "").split("\n\n")))
        yield f"\n## neuralcollapse {name}\n\n{about}\n\n| | what | if omitted |\n|---|---|---|"
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
            needed = _one_line(claim.correction)
        yield f"| `{claim.id.partition('.')[2]}` | {_one_line(claim.statement)} | {needed} |"
