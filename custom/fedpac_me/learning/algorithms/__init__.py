# SPDX-License-Identifier: Apache-2.0
"""What published federated algorithms add to a site's round, one file each."""
