# SPDX-License-Identifier: Apache-2.0
"""The one exception that a user is meant to read."""


class InputError(ValueError):
    """Bad input from outside: its text says what happened, what was expected and how to fix it.

    Commands print the text and exit with 2; the Executor answers with an error reply.
    """
