# SPDX-License-Identifier: Apache-2.0
"""Stops a job at the server before anything is asked of a site, when the server's code is not the job's."""

from __future__ import annotations

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_context import FLContext

from fedpac_me.code_version import skew


class CodeCheck(FLComponent):
    """At the server; at a site the executor refuses its tasks itself, so that the others go on.

    Args:
        code: ``code_version.this_code()`` where the job was written.
    """

    def __init__(self, code: dict) -> None:
        super().__init__()
        self.code = code

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Compares when the run starts."""
        if event_type == EventType.START_RUN:
            sentence = skew("the server", self.code)
            if sentence:
                self.system_panic(sentence, fl_ctx)
