# SPDX-License-Identifier: Apache-2.0
"""The network that is trained."""
