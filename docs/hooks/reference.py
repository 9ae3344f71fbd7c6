"""Reference pages are written from the stubs, which say what is public.

A page holds ``::: neuralcollapse.PACKAGE``; each public name is put in its place, under the module
that defines it, once. Names of nested packages follow. ``::: neuralcollapse`` itself becomes a
table of the front door, which links to them; ``::: neuralcollapse.studies.PAPER`` one of its claims.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

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
    if package.startswith("neuralcollapse.studies."):
        return "\n".join(_claims(package.rpartition(".")[2]))
    return "\n".join(_package(package, set()))


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


def _package(package: str, seen: set[str]) -> Iterator[str]:
    """List the names of a package by module, then those of its nested packages not yet listed."""
    module_before = None
    for name, path in public_names(package).items():
        definition = _definition(path)
        if folder(path).is_dir() or definition in seen:
            continue
        seen.add(definition)
        module = definition.rpartition(".")[0]
        if module != module_before:
            yield f"\n## {module.rpartition('.')[2]}\n\n{_first_line(module)}\n"
            module_before = module
        yield f"[](){{#{package}.{name}}}\n\n::: {definition}\n    options:\n      heading_level: 3\n"
    for stub in sorted(folder(package).glob("*/__init__.pyi")):
        yield from _package(f"{package}.{stub.parent.name}", seen)


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
        tree: ast.AST | None = ast.parse((folder(path) / "__init__.py").read_text())
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
        yield f"\n## neuralcollapse {name}\n\n{_one_line(command.help)}\n\n| | |\n|---|---|"
        for parameter in command.params:
            words = parameter.opts if parameter.param_type_name == "option" else [parameter.name]
            about = getattr(parameter, "help", None)
            yield f"| {', '.join(f'`{word}`' for word in words)} | {_one_line(about)} |"


def _one_line(text: str | None) -> str:
    """Return text for a cell of a table, as it is: its asterisks and angles are no markup."""
    words = " ".join((text or "").split())
    return re.sub(r"([|*_\[\]`])", r"\\\1", words.replace("<", "&lt;"))


def _claims(paper: str) -> Iterator[str]:
    """List the claims of a paper, with what each needed."""
    from neuralcollapse.studies import load_study

    yield "| claim | statement | what it needed |\n|---|---|---|"
    for claim in load_study(paper).claims:
        needed = _one_line(claim.correction) if claim.correction else "stands as stated"
        yield f"| `{claim.id.partition('.')[2]}` | {_one_line(claim.statement)} | {needed} |"
