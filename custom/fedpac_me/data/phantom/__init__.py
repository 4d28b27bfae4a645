# SPDX-License-Identifier: Apache-2.0
"""The phantom: five synthetic hospitals in BraTS2020's layout, for wherever real scans may not go.

``hospitals`` says who contributes what, ``scanner`` how a protocol looks, ``kinds`` which other federations there are,
``conflicting`` one of them; ``anatomy`` and ``tumour`` draw on a
``canvas``; ``case`` puts one case together, ``writer`` all of them on disk; ``calibration`` compares with real cases.
"""

from fedpac_me.data.phantom.writer import read_phantom_settings, write_phantom

__all__ = ["read_phantom_settings", "write_phantom"]
