# SPDX-License-Identifier: Apache-2.0
"""An error reply that says why: FLARE's return code plus one sentence."""

from __future__ import annotations

from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply

_REASON = "fedpac_me_reason"
_LONGEST = 500


def error_reply(reason: str) -> Shareable:
    """A failed task's reply. ``reason`` must hold no patient id, file name or path: it leaves the site."""
    reply = make_reply(ReturnCode.EXECUTION_EXCEPTION)
    reply.set_header(_REASON, reason)
    return reply


def reason_of(result: Shareable) -> str:
    """The sentence of an error reply, or its return code where the sender gave none."""
    reason = result.get_header(_REASON)
    return reason[:_LONGEST] if isinstance(reason, str) and reason else f"the site answered {result.get_return_code()}"
