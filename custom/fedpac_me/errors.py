# SPDX-License-Identifier: Apache-2.0
"""The one exception that a user is meant to read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from pydantic import ValidationError

_FAULTS_SHOWN = 5


class InputError(ValueError):
    """Bad input from outside: its text says what happened, what was expected and how to fix it.

    Commands print the text and exit with 2; the Executor answers with an error reply.
    """


def why_invalid(error: Exception) -> str:
    """What pydantic, or whatever read a file, found wrong with it, in one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    faults = [f"{'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}" for fault in error.errors()]
    return "; ".join(faults[:_FAULTS_SHOWN])


def exit_code(act: Callable[[], int | None], failures: tuple[type[Exception], ...] = ()) -> int:
    """Do what a command is for. 0, or what ``act`` returns: done. 1: one of ``failures``. 2: bad input.

    What went wrong is told in a sentence on the standard error stream. A reader who has seen enough, such as
    ``head``, ends the command without a word.
    """
    try:
        return act() or 0
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except failures as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Python would complain again when it flushes what nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
