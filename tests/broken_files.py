# SPDX-License-Identifier: Apache-2.0
"""Ways to spoil the files of a case, each a function of the case's folder."""

from __future__ import annotations

import gzip
import shutil

import nibabel
import numpy as np

from cases import LPS, save
from fedpac_me.data.check_data import check_data
from fedpac_me.labels import MODALITIES

ALL = (*MODALITIES, "seg")
RAS = np.diag([1.0, 1.0, 1.0, 1.0])


def file(folder, part):
    return folder / f"{folder.name}_{part}.nii.gz"


def voxels(folder, part):
    return np.asanyarray(nibabel.load(file(folder, part)).dataobj)


def edit(change, *parts, affine=LPS):
    """A function that rewrites files of a case through ``change(data)``."""

    def damage(folder):
        for part in parts:
            save(file(folder, part), change(voxels(folder, part)), affine)

    return damage


def put(value, where, dtype=None):
    """A function that returns its array with ``value`` in the slice ``where``."""

    def change(data):
        data = np.array(data, dtype=dtype)
        data[where] = value
        return data

    return change


def remove(*parts):
    return lambda folder: [file(folder, part).unlink() for part in parts]


def write_bytes(part, change):
    return lambda folder: file(folder, part).write_bytes(change(file(folder, part).read_bytes()))


def flip_a_bit_of_the_checksum(content):
    return content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]


def announce_more(content):
    header = bytearray(gzip.decompress(content))
    header[42:48] = np.array([30000] * 3, "<i2").tobytes()  # dim[1:4]
    return gzip.compress(bytes(header))


def copy(one, other):
    return lambda folder: shutil.copy(file(folder, one), file(folder, other))


def no_affine(folder):
    image = nibabel.load(file(folder, "t1"))
    for row in ("srow_x", "srow_y", "srow_z"):
        image.header[row] = 0
    content = image.header.binaryblock + bytes(4) + image.dataobj.get_unscaled().tobytes(order="F")
    file(folder, "t1").write_bytes(gzip.compress(content))


def noise(data):
    return np.where(data > 0, data, np.arange(data.size, dtype=data.dtype).reshape(data.shape) % 23 + 1)


def shoulders(data):
    return put(50, np.s_[2:22, 2:22, :3])(data)


def codes(folder, **options):
    return [(finding.severity, finding.code) for finding in check_data(folder, workers=1, **options).findings]
