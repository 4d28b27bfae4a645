# SPDX-License-Identifier: Apache-2.0
"""Objects that fight back when they are looked at."""

from __future__ import annotations

from typing import Any, NoReturn


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("looked at")


_METHODS = [
    "__eq__",
    "__ne__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
    "__hash__",
    "__len__",
    "__iter__",
    "__bool__",
    "__repr__",
    "__str__",
    "__int__",
    "__float__",
    "__index__",
    "__getitem__",
    "__contains__",
    "__getattr__",
    "__array__",
    "__format__",
]

Hostile = type("Hostile", (), dict.fromkeys(_METHODS, _refuse))
HostileText = type("HostileText", (str,), dict.fromkeys(("__eq__", "__hash__", "__len__", "__repr__"), _refuse))
HostileDict = type("HostileDict", (dict,), dict.fromkeys(("__iter__", "__len__", "keys", "items", "get"), _refuse))
HostileNumber = type("HostileNumber", (int,), dict.fromkeys(("__lt__", "__le__", "__eq__", "__float__"), _refuse))
