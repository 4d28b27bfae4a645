# SPDX-License-Identifier: Apache-2.0
"""What the server computes, on numpy arrays only: checks, merge, momentum, ledger."""
