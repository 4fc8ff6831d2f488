"""What a module of the program may use that could open a connection: read from the source, name by name.

Each dotted name is followed to where it comes from, also through other modules of ours, and must be harmless or be
permitted to that module, with a reason (`tests.core.permits`). What nobody has thought about is a finding, not a gap.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from tests.core.permits import (
    BUILTINS,
    CALLS,
    HARMLESS,
    METHODS,
    MODULES_WITHIN,
    NATIVE,
    PERMITS,
    STRINGS,
    WATCHED,
    WORDS,
    Permit,
)


@dataclass
class Source:
    """A module of the program. `names` are where its imported names come from."""

    path: str
    tree: ast.Module
    names: dict[str, set[str]] = field(default_factory=dict)
    imported: list[tuple[str, ast.stmt]] = field(default_factory=list)

    @property
    def module(self) -> str:
        """Its dotted name."""
        parts = Path(self.path).with_suffix("").parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def bind(self) -> None:
        package = self.module if Path(self.path).name == "__init__.py" else self.module.rpartition(".")[0]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.imported.append((alias.name, node))
                    name = alias.asname or alias.name.partition(".")[0]
                    self.names.setdefault(name, set()).add(alias.name if alias.asname else name)
            elif isinstance(node, ast.ImportFrom):
                above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                for alias in node.names:
                    self.imported.append((f"{base}.{alias.name}", node))
                    self.names.setdefault(alias.asname or alias.name, set()).add(f"{base}.{alias.name}")


def read(root: Path) -> dict[str, Source]:
    """All modules below `root`, by their dotted names."""
    found = {}
    for folder in ("app", "converter"):
        for file in sorted((root / folder).rglob("*.py")):
            one = parsed(file.relative_to(root).as_posix(), file.read_text("utf-8"))
            found[one.module] = one
    return found


def parsed(path: str, text: str) -> Source:
    one = Source(path, ast.parse(text))
    one.bind()
    return one


def findings(one: Source, project: Mapping[str, Source]) -> set[str]:
    """What `one` uses without a permit."""
    allowed = PERMITS.get(one.path, Permit("", frozenset()))
    return {*_imports(one, project, allowed), *_uses(one, project, allowed), *_constants(one, allowed)}


def _imports(one: Source, project: Mapping[str, Source], allowed: Permit) -> Iterator[str]:
    for_types = set(_for_types(one.tree))
    for name, node in one.imported:
        for dotted in _origins({name}, project):
            leads = any(use.startswith(dotted + ".") for use in allowed.uses)
            if _is_dangerous(dotted) and not (leads or _is_permitted(dotted, allowed)):
                yield f"import {dotted}"
            elif _is_dangerous(dotted) and allowed.types_only and node not in for_types:
                yield f"import {dotted} where the program runs"


def _uses(one: Source, project: Mapping[str, Source], allowed: Permit) -> Iterator[str]:
    native = any(use.startswith(("ctypes.CDLL", "ctypes.windll")) for use in allowed.uses)
    for node in _outermost(one.tree):
        chain = _chain(node)
        for dotted in _origins(_dotted(chain, one), project):
            if _is_dangerous(dotted) and not _is_permitted(dotted, allowed):
                yield dotted
            elif dotted in ("os", "sys", "logging"):
                yield f"{dotted} as a value"  # `vars(os)["system"]`
        if chain[0] in BUILTINS and chain[0] not in one.names:
            yield chain[0]
    for node in ast.walk(one.tree):
        if isinstance(node, ast.Attribute):
            permitted = any(_is_permitted(dotted, allowed) for dotted in _dotted(_chain(node), one))
            way_out = (node.attr in METHODS and not permitted) or (native and node.attr in NATIVE)
            if way_out or "ggml_backend_rpc" in node.attr:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            yield from _calls(node, one, project, allowed)


def _calls(node: ast.Call, one: Source, project: Mapping[str, Source], allowed: Permit) -> Iterator[str]:
    arguments = [*map(ast.unparse, node.args), *(ast.unparse(k) for k in node.keywords)]
    for dotted in _origins(_dotted(_chain(node.func), one), project):
        text = f"{dotted}({', '.join(arguments)})"
        if dotted in CALLS and not any(fnmatchcase(text, call) for call in allowed.calls):
            yield text
    if _is_getattr(node):
        attribute = node.args[1]
        for dotted in _origins(_dotted(_chain(node.args[0]), one), project):
            if isinstance(attribute, ast.Constant):
                whole = f"{dotted}.{attribute.value}"
                if _is_dangerous(whole) and not _is_permitted(whole, allowed):
                    yield whole
            elif dotted in HARMLESS or dotted in project:
                yield f"getattr({dotted}, ...)"


def _constants(one: Source, allowed: Permit) -> Iterator[str]:
    prose = {id(node.value) for node in ast.walk(one.tree) if isinstance(node, ast.Expr)}  # docstrings may say it
    for node in ast.walk(one.tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in prose:
            continue
        if node.value not in allowed.strings and (node.value in STRINGS or WORDS.search(node.value)):
            yield repr(node.value)


def _is_dangerous(dotted: str) -> bool:
    """Not harmless, or watched, or a way from a harmless module into another one."""
    parts = dotted.split(".")
    known = [n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in HARMLESS]
    if not known:
        return True
    watched = any(WATCHED.fullmatch(".".join(parts[:n])) for n in range(1, len(parts) + 1))
    return watched or not MODULES_WITHIN.isdisjoint(parts[known[0] :]) or parts[-1] == "*"


def _is_permitted(dotted: str, allowed: Permit) -> bool:
    return any(dotted == use or dotted.startswith(use + ".") for use in allowed.uses)


def _dotted(chain: list[str], one: Source) -> set[str]:
    """Where a chain of names comes from; nothing if its first is not imported."""
    return {".".join([base, *chain[1:]]) for base in one.names.get(chain[0], ())}


def _origins(names: Iterable[str], project: Mapping[str, Source]) -> set[str]:
    """The same, followed through modules of ours that pass on what they have imported."""
    found: set[str] = set()
    waiting = set(names)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        parts = name.split(".")
        lengths = [n for n in range(len(parts) - 1, 0, -1) if ".".join(parts[:n]) in project]
        through = set()
        if lengths and name not in project:
            module = project[".".join(parts[: lengths[0]])]
            through = {".".join([b, *parts[lengths[0] + 1 :]]) for b in module.names.get(parts[lengths[0]], ())}
        waiting |= through - seen
        if not through:
            found.add(name)
    return found


def _chain(node: ast.expr) -> list[str]:
    """`a.b.c` as its names; [""] where it begins with something else than a name."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return [node.id if isinstance(node, ast.Name) else "", *names]


def _outermost(tree: ast.AST) -> Iterator[ast.expr]:
    """Each name or chain of attributes, whole."""
    named = tree.args[0] if isinstance(tree, ast.Call) and _is_getattr(tree) else None  # see `_calls`
    for child in ast.iter_child_nodes(tree):
        if child is named:
            continue
        if isinstance(child, ast.Name) or (isinstance(child, ast.Attribute) and _chain(child)[0]):
            yield child
        else:
            yield from _outermost(child)


def _is_getattr(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr", "setattr") and len(node.args) > 1


def _for_types(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from (
                inner for statement in node.body for inner in ast.walk(statement) if isinstance(inner, ast.stmt)
            )
