# SPDX-License-Identifier: Apache-2.0
"""From NIfTI files on disk to tensors: layouts, site settings, preprocessing, crops, the phantom."""
