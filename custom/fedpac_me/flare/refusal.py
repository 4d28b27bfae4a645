# SPDX-License-Identifier: Apache-2.0
"""A task that a site gives up: one sentence leaves, and everything else stays in its private log."""

from __future__ import annotations

from nvflare.apis.executor import Executor
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from fedpac_me.data.site import NoSettings
from fedpac_me.errors import InputError
from fedpac_me.flare.error_reply import error_reply
from fedpac_me.flare.private_log import PRIVATE_LOG, append_private_log
from fedpac_me.flare.site_context import site_folder


def refusal_of(executor: Executor, fl_ctx: FLContext, error: Exception) -> Shareable:
    """The reply to a task that ended in ``error``, whose words may name files."""
    if isinstance(error, NoSettings):
        return refuse(executor, fl_ctx, str(error), str(error))
    if isinstance(error, InputError):
        reason = "the site's data or settings are not usable; its own private.log says why"
        return refuse(executor, fl_ctx, reason, str(error))
    reason = f"{type(error).__name__} at the site; its own private.log says why"
    return refuse(executor, fl_ctx, reason, repr(error), error)


def refuse(
    executor: Executor, fl_ctx: FLContext, reason: str, detail: str, error: Exception | None = None
) -> Shareable:
    """An error reply with ``reason``; ``detail``, which may name files, stays in a file of the site's own."""
    append_private_log(site_folder(fl_ctx) / PRIVATE_LOG, detail, error)
    executor.log_error(fl_ctx, f"This task was given up: {reason}")
    return error_reply(reason)
