# SPDX-License-Identifier: Apache-2.0
"""What `make gpu-check` measures on a machine with CUDA. Every part runs on a CPU at tiny size, where it is tested."""
