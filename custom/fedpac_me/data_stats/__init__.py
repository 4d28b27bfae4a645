# SPDX-License-Identifier: Apache-2.0
"""What the sites' data is like, without FLARE: a case's figures, a site's columns, hashed subjects, the page."""
