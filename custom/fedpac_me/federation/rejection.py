# SPDX-License-Identifier: Apache-2.0
"""Words for a refusal: one sentence that may quote what a site sent, without running any code of it."""

from __future__ import annotations

import numpy as np

MAX_SENTENCE = 400
_MAX_QUOTE = 80
_MAX_INTEGER_BITS = 128
_TYPE_NAME = type.__dict__["__name__"]


class Rejected(Exception):
    """Inside ``federation`` only: the sentence that becomes the reason of a rejecting ``Verdict``."""


def kind(value: object) -> str:
    """The name of the value's type, read so that not even a hostile metaclass has a say."""
    return str(_TYPE_NAME.__get__(type(value)))[:_MAX_QUOTE]


def show(value: object) -> str:
    """A short quotation of a builtin value; of anything else its type only.

    Very long integers cannot be printed at all (``sys.set_int_max_str_digits``) and very long strings would fill the
    ledger, so both are cut.
    """
    if value is None or type(value) in (bool, float):
        return repr(value)
    if type(value) is int:
        bits = value.bit_length()
        return str(value) if bits <= _MAX_INTEGER_BITS else f"an integer of {bits} bits"
    if type(value) is str:
        return repr(value) if len(value) <= _MAX_QUOTE else repr(value[:_MAX_QUOTE]) + "…"
    if type(value) is np.ndarray:
        return f"an array of {str(value.dtype)[:_MAX_QUOTE]} {value.shape}"
    return f"a value of type {kind(value)}"


def one_line(text: object) -> str:
    """``text`` as one printable line of bounded length; for reasons that come from outside."""
    if type(text) is not str:
        return show(text)
    line = " ".join(text[: 4 * MAX_SENTENCE].split())
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    return printable if len(printable) <= MAX_SENTENCE else printable[: MAX_SENTENCE - 1] + "…"
