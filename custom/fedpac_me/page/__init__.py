# SPDX-License-Identifier: Apache-2.0
"""What the project's HTML pages share: head and style, legend, drawings."""
