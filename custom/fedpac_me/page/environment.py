# SPDX-License-Identifier: Apache-2.0
"""Templates of a page and what all pages share."""

from __future__ import annotations

from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined


def page_environment(package: str) -> Environment:
    """Finds templates in ``package``, then here. Every text is escaped, and a name that is missing is an error."""
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(lambda name: _template(package, name)),
    )


def _template(package: str, name: str) -> str | None:
    for place in (package, __package__):
        file = resources.files(place).joinpath(name)
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None
