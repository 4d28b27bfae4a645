# SPDX-License-Identifier: Apache-2.0
import numpy as np

from fedpac_me.labels import REGIONS, labels_from_regions, regions_from_labels


def test_regions_are_tumour_core_whole_tumour_enhancing_in_that_order():
    assert REGIONS == ("TC", "WT", "ET")
    labels = np.array([0, 1, 2, 4]).reshape(1, 1, 4)
    assert regions_from_labels(labels)[:, 0, 0].astype(int).tolist() == [[0, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 1]]


def test_labels_survive_the_way_through_regions():
    labels = np.array([0, 1, 2, 4, 4, 0]).reshape(1, 2, 3)
    assert labels_from_regions(regions_from_labels(labels)).tolist() == labels.tolist()


def test_overlapping_predictions_become_the_innermost_label():
    core, whole, enhancing = [1, 0, 0], [0, 1, 0], [0, 0, 1]
    regions = np.array([core, whole, enhancing], bool).reshape(3, 1, 1, 3)
    assert labels_from_regions(regions)[0, 0].tolist() == [1, 2, 4]
