# SPDX-License-Identifier: Apache-2.0
"""The settings of FLARE's privacy filters, with this project's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from fedpac_me.errors import InputError


@dataclass(frozen=True)
class PrivacySettings:
    """What a site holds back.

    Attributes:
        min_count: a figure over fewer cases does not leave, nor does anything of a site with fewer.
        min_noise_level: the lowest and the highest intensity of a site are moved outwards by at least this share.
        max_noise_level: and by at most this one.
        max_bins_percent: a histogram has fewer bins than this percentage of the cases in it, or does not leave.
    """

    min_count: int = 10
    min_noise_level: float = 0.1
    max_noise_level: float = 0.3
    max_bins_percent: float = 100.0

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise InputError(f"The minimum count is {self.min_count}; expected 1 or more.")
        if not 0 <= self.min_noise_level <= self.max_noise_level <= 1:
            raise InputError(
                f"The noise lies between {self.min_noise_level:g} and {self.max_noise_level:g}; expected two shares "
                "from 0 to 1, the smaller first."
            )
        if not 0 <= self.max_bins_percent <= 100:
            raise InputError(f"A histogram may have {self.max_bins_percent:g} % bins; expected 0 to 100.")
