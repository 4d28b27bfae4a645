# SPDX-License-Identifier: Apache-2.0
"""Every method on the same federation: what is run, what is kept, what the figures say. The command is ``cli``'s."""
