# SPDX-License-Identifier: Apache-2.0
"""The commented sample of a site's settings that lies in each hospital's kit."""

from __future__ import annotations

import json
import textwrap

from fedpac_me.data.site import SETTINGS_FILE, SiteSettings

SAMPLE_FILE = f"{SETTINGS_FILE}.sample"

_EXAMPLE_DATA = "/path/to/cases"
_WIDTH = 100
_HEAD = (
    f"The settings of this site. They take effect as {SETTINGS_FILE} beside this file: copy it there and change what "
    "is not so here. Lines that begin with // are comments. Relative paths are relative to this file. Unknown keys are "
    "refused, and every key but data may be left out: its value below is then taken."
)


def sample_settings() -> str:
    """Every setting with its default, each below what it means; a copy of it is a valid settings file."""
    entries = []
    for name, field in SiteSettings.model_fields.items():
        value = _EXAMPLE_DATA if field.is_required() else field.default
        entries.append(f"{_comment(field.description or '', '  ')}  {json.dumps(name)}: {json.dumps(value)}")
    return f"{_comment(_HEAD, '')}{{\n" + ",\n\n".join(entries) + "\n}\n"


def _comment(text: str, indent: str) -> str:
    marked = f"{indent}// "
    return textwrap.fill(" ".join(text.split()), _WIDTH, initial_indent=marked, subsequent_indent=marked) + "\n"
