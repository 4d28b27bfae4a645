# SPDX-License-Identifier: Apache-2.0
"""FedPAC-ME: federated brain-tumour segmentation across hospitals whose scans differ."""

__version__ = "0.1.0"
