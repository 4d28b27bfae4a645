# SPDX-License-Identifier: Apache-2.0
"""The only sub-package that imports nvflare. It translates; it decides nothing."""
