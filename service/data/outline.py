"""A program of its own: reads modules of Python from standard input and says what names each defines. Runs nothing.

In goes {path: source as latin-1}, out comes {path: {"names": […], "open": bool} or {"error": "line 3: …"}}; `open`: it
imports `*`, or names come and go in ways that only running it would tell. Python's parser may end its process on source
that is made to do so, which is why nobody calls it in his own.
"""

import ast
import json
import resource
import sys
from collections.abc import Iterable, Iterator
from typing import TypeGuard

MEMORY_BYTES, CPU_S = 2 << 30, 20
STAR = "*"


def names(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """What these statements of a module's top level may define."""
    for statement in statements:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases):
                yield from (alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name for alias in aliases)
            case ast.Assign() | ast.AnnAssign():
                yield from (node.id for node in ast.walk(statement) if _is_stored(node))
            case ast.If(body=body, orelse=orelse):
                yield from names([*body, *orelse])
            case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=final):
                yield from names([*body, *(each for handler in handlers for each in handler.body), *orelse, *final])
            case ast.With(body=body):
                yield from names(body)
            case ast.For() | ast.While() | ast.Match():
                yield STAR


def _is_stored(node: ast.AST) -> TypeGuard[ast.Name]:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def outline(source: bytes, path: str) -> dict[str, object]:
    try:
        found = set(names(ast.parse(source, path).body))
    except SyntaxError as error:
        return {"error": f"line {error.lineno}: {error.msg}"}
    except (ValueError, RecursionError, MemoryError) as error:
        return {"error": f"it cannot be parsed: {type(error).__name__}: {error}"}
    is_open = bool(found & {STAR, "__getattr__"})
    return {"names": sorted(found - {STAR}), "open": is_open}


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sources = json.load(sys.stdin)
    json.dump({path: outline(text.encode("latin-1"), path) for path, text in sources.items()}, sys.stdout)


if __name__ == "__main__":
    main()
