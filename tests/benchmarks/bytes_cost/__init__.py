# SPDX-License-Identifier: Apache-2.0
"""What rounding the messages saves and costs; the parts of ``bytes_on_the_wire.py``."""
