# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest
import torch

from cases import write_case
from fedpac_me.config import DataConfig
from fedpac_me.data.checks import check_root
from fedpac_me.data.crops import TrainingCrops
from fedpac_me.data.layouts import find_cases
from fedpac_me.data.pooling import write_pooled_root
from fedpac_me.data.scan_cache import ScanCache
from fedpac_me.data.site import find_settings
from fedpac_me.data.splits import split_cases
from fedpac_me.errors import InputError


def test_settings_come_from_the_kit_before_the_environment(tmp_path, site_folder):
    data = site_folder("site-1")
    kit = tmp_path / "kit"
    kit.mkdir()
    environment = {"FEDPAC_ME_DATA": str(data.parent)}
    assert find_settings("site-1", kit, environment=environment).data == (data,)
    (kit / "fedpac_me.json").write_text(json.dumps({"data": "/elsewhere", "role": "evaluate"}))
    settings = find_settings("site-1", kit, environment=environment)
    assert (str(settings.data[0]), settings.role) == ("/elsewhere", "evaluate")


def test_the_environment_may_name_the_sites_own_folder(site_folder):
    data = site_folder("anything")
    assert find_settings("hospital-x", environment={"FEDPAC_ME_DATA": str(data)}).data == (data,)


def test_relative_folders_start_where_the_user_stood(site_folder):
    data = site_folder("site-1")
    environment = {"FEDPAC_ME_DATA": "sites", "PWD": str(data.parents[1])}
    assert find_settings("site-1", environment=environment).data == (data,)


def test_only_a_simulated_site_may_fall_back_to_the_phantom(tmp_path):
    assert (
        find_settings("site-2", simulated=True, environment={"PWD": "/w"}).data[0].as_posix()
        == "/w/data/phantom/site-2"
    )
    with pytest.raises(InputError, match="does not say where its data is"):
        find_settings("site-2", environment={})


@pytest.mark.parametrize("content", ['{"rolle": "train"}', '{"role": "boss"}', "[]", "{"])
def test_wrong_settings_are_refused(site_folder, content):
    data = site_folder("site-1")
    (data / "site.json").write_text(content)
    with pytest.raises(InputError, match=r"site\.json is not a valid"):
        find_settings("site-1", environment={"FEDPAC_ME_DATA": str(data.parent)})


def test_a_listed_split_is_taken_as_it_is(site_folder):
    data = site_folder(cases=3)
    ids = [case.id for case in find_cases([data])]
    (data / "splits.json").write_text(json.dumps({"train": ids[:1], "validation": ids[1:2], "test": ids[2:]}))
    split = split_cases([data])
    assert [[case.id for case in part] for part in split.parts().values()] == [[ids[0]], [ids[1]], [ids[2]]]


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"train": ["nobody"]}, "not in its folder: nobody"),
        ({"train": ["Case_site-1_000"], "test": ["Case_site-1_000"]}, "more than once"),
        ([1], "not a valid split file"),
    ],
)
def test_a_wrong_split_is_refused(site_folder, split, words):
    data = site_folder()
    (data / "splits.json").write_text(json.dumps(split))
    with pytest.raises(InputError, match=words):
        split_cases([data])


def test_without_a_list_a_case_keeps_its_part_when_others_come(site_folder, tmp_path):
    data = site_folder(cases=6, edge=16)
    before = {case.id: name for name, part in split_cases([data]).parts().items() for case in part}
    write_case(data, "Newcomer", edge=16)
    after = {case.id: name for name, part in split_cases([data]).parts().items() for case in part}
    assert before.items() <= after.items()
    assert len(after) == 7


def test_a_pooled_root_points_at_every_training_site(site_folder, tmp_path):
    one, two, unseen = site_folder("site-1"), site_folder("site-2"), site_folder("site-3")
    (unseen / "site.json").write_text('{"role": "evaluate"}')
    write_pooled_root(one.parent, tmp_path / "pooled")
    environment = {"FEDPAC_ME_DATA": str(tmp_path / "pooled")}
    pooled = find_settings("pooled", environment=environment)
    assert (pooled.role, pooled.data) == ("pooled", (one, two))
    assert find_settings("site-3", environment=environment).role == "evaluate"
    assert find_settings("site-3", environment=environment).data == (unseen,)


def crops_of(data, **options) -> TrainingCrops:
    scans = ScanCache(data.parent / "scans", DataConfig(crop=options.get("crop", 16)))
    return TrainingCrops(find_cases([data]), scans, seed=options.get("seed", 0), site=options.get("site", "s"))


def test_batches_have_the_layout_and_hold_tumour_where_the_image_is_bright(site_folder):
    batch = next(crops_of(site_folder(edge=32)).batches(0, 1, 4))
    assert batch.image.shape == (4, 4, 16, 16, 16)
    assert batch.regions.shape == (4, 3, 16, 16, 16)
    assert batch.present.tolist() == [[1, 1, 1, 1]] * 4
    inside = batch.regions[:, 1] > 0  # whole tumour was drawn brighter in every modality
    assert inside.any()
    assert (
        batch.image.permute(1, 0, 2, 3, 4)[:, inside].mean(1) > batch.image.permute(1, 0, 2, 3, 4)[:, ~inside].mean(1)
    ).all()


def test_batches_depend_on_seed_site_and_round_and_on_nothing_else(site_folder):
    data = site_folder(edge=32)

    def digest(crops, round_number):
        return torch.stack([batch.image for batch in crops.batches(round_number, 2, 2)]).numpy().tobytes()

    crops = crops_of(data)
    assert digest(crops, 3) == digest(crops, 3) == digest(crops_of(data), 3)
    others = [digest(crops, 4), digest(crops_of(data, seed=1), 3), digest(crops_of(data, site="t"), 3)]
    assert digest(crops, 3) not in others


def test_every_case_comes_before_one_comes_again(site_folder):
    crops = crops_of(site_folder(cases=4, edge=32))
    means = [round(float(batch.image.abs().sum()), 3) for batch in crops.batches(0, 4, 1)]
    assert len(set(means)) == 4


def test_scans_smaller_than_the_crop_are_padded(site_folder):
    crops = crops_of(site_folder(edge=24), crop=32)
    assert next(crops.batches(0, 1, 1)).image.shape[2:] == (32, 32, 32)


def test_checking_a_root_names_the_bad_case_and_counts_the_good_ones(site_folder):
    root = site_folder("site-1", cases=2, edge=16).parent
    site_folder("site-2", cases=3, edge=16)
    lines = []
    assert check_root(root, DataConfig(), lines.append) == {"site-1": 2, "site-2": 3}
    assert lines == ["Reading 5 cases of 2 sites once to check them ..."]
    bad = root / "site-2" / "Case_site-2_001"
    (bad / f"{bad.name}_seg.nii.gz").unlink()
    with pytest.raises(InputError, match="Case_site-2_001 has no segmentation"):
        check_root(root, DataConfig(), lines.append)


def test_an_empty_or_missing_root_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="There is no data folder"):
        check_root(tmp_path / "none", DataConfig())
    with pytest.raises(InputError, match="holds no site folders"):
        check_root(tmp_path, DataConfig())


def test_numpy_is_not_the_source_of_randomness(site_folder):
    crops = crops_of(site_folder(edge=32))
    np.random.seed(1)
    one = next(crops.batches(0, 1, 1)).image
    np.random.seed(2)
    assert torch.equal(one, next(crops.batches(0, 1, 1)).image)
