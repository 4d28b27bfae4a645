# SPDX-License-Identifier: Apache-2.0
"""Metrics per case, summaries per site, the report."""
