# SPDX-License-Identifier: Apache-2.0
"""What one site computes: losses, training, inference."""
