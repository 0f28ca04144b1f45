"""Which names of a package a source uses."""

from __future__ import annotations

import ast


def names_used(source: str, *, of: str) -> set[str]:
    """Return every name of the package that this source imports, or reaches through the package's name, in full."""
    tree = ast.parse(source)
    aliases = dict(_aliases_in(tree))
    used: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == of:
            used |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names if alias.name.startswith(f"{of}.") and not alias.asname}
        elif isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            chain = f"{aliases.get(first, first)}.{rest}"
            used |= {chain} if chain.startswith(f"{of}.") else set()
    return used


def private_attributes_of_others(source: str) -> set[str]:
    """Return every `value._name` of this source whose value is not the object itself."""
    return {
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) not in ("self", "cls", "super()")
    }


def _aliases_in(tree: ast.AST) -> list[tuple[str, str]]:
    imports = [alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return [(alias.asname, alias.name) for alias in imports if alias.asname]
