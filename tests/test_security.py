"""Files of others are data: none is executed, and versions with known holes are refused."""

import ast
import json
import pickle
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from ray_slm import doctor

REPOSITORY = Path(__file__).parents[1]
CODE = [
    path
    for folder in ("ray_slm", "jobs", "scripts", "benchmarks")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
]
FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads",
    "joblib.load", "dill.load", "dill.loads", "marshal.load", "marshal.loads", "shelve.open",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "eval", "exec",
    "tarball.extractall", "tar.extractall", "archive.extractall",
}  # fmt: skip
REQUIRED = {"torch.load": ("weights_only", True), "from_pretrained": ("use_safetensors", True)}
NEVER_TRUE = ("trust_remote_code", "allow_pickle", "shell")


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_code_executes_what_it_reads(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        where, called = f"{path.name}:{node.lineno}", ast.unparse(node.func)
        own = (path.name, called) == ("tokenize.py", "exec")  # stands in for Python's own module
        assert own or called not in FORBIDDEN, f"{where}: {called} executes what it reads"
        keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
        for name in NEVER_TRUE:
            assert keywords.get(name, "False") == "False", f"{where}: {name}"
        for name, (keyword, value) in REQUIRED.items():
            if called == name or (called.endswith(f".{name}") and _loads_weights(called)):
                assert keywords.get(keyword) == str(value), f"{where}: {called} needs {keyword}"


def _loads_weights(called):
    return called.split(".")[0].startswith(("AutoModel", "Llama", "Hubert", "Wav", "Whisper"))


def pickled_model(folder, bomb):
    """A checkpoint as an attacker hands it over: config.json beside pickled weights."""
    folder.mkdir()
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(bomb)))
    (folder / "preprocessor_config.json").write_text("{}")
    return folder


def test_pickled_weights_are_refused_where_a_language_model_is_loaded(tmp_path):
    from ray_slm.evaluation.layers import load_model

    bomb = tmp_path / "exploded"
    folder = pickled_model(tmp_path / "model", bomb)
    with pytest.raises((ValueError, OSError)):
        load_model(folder, device="cpu")
    assert not bomb.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "manifest.json"])
def test_pickles_in_a_resume_checkpoint_are_passed_over(tmp_path, name):
    from ray_slm.training import checkpoint

    bomb, folder = tmp_path / "exploded", tmp_path / "step-000000001-0001"
    folder.mkdir()
    for file in ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"):
        (folder / file).write_text("{}")
    (folder / name).write_bytes(pickle.dumps(Bomb(bomb)))
    newest = checkpoint.newest_valid(tmp_path, "run")
    assert newest.folder is None
    assert len(newest.rejected) == 1
    assert not bomb.exists()


def test_pickled_weights_of_an_encoder_are_refused(tmp_path):
    from ray_slm.units.hubert import HubertLayer

    bomb = tmp_path / "exploded"
    folder = pickled_model(tmp_path / "encoder", bomb)
    (folder / "config.json").write_text(json.dumps({"model_type": "hubert"}))
    extractor = HubertLayer(checkpoint="theirs", layer=1, sha256="0" * 64)
    with pytest.raises(ValueError, match=r"model\.safetensors does not exist"):
        extractor.load({"theirs": folder}, "cpu")
    assert not bomb.exists()


def test_the_bomb_would_go_off(tmp_path):
    """Or the tests above would prove nothing."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "exploded")))
    assert (tmp_path / "exploded").exists()


def test_versions_with_known_holes_cannot_be_installed():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    floors = {}
    for requirement in project["dependencies"]:
        if found := re.match(r"([a-z0-9-]+)(?:\[[^]]*\])?>=([0-9.]+)$", requirement):
            floors[found[1]] = _numbers(found[2])
    assert doctor.FLOORS["sentencepiece"] >= (0, 2, 3), "CVE-2026-1260"
    for name, least in doctor.FLOORS.items():
        assert floors[name] >= least, f"{name}: pyproject.toml allows less than {least}"
        assert _numbers(version(name)) >= least


def _numbers(text):
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


@pytest.mark.parametrize("before", [None, "kept"])
def test_the_token_of_a_cluster_is_read_by_its_owner_alone(tmp_path, monkeypatch, before):
    from ray_slm.cluster import session

    token = tmp_path / "home" / ".ray" / "auth_token"
    if before:
        token.parent.mkdir(parents=True)
        token.write_text(before)
        token.chmod(0o644)
    monkeypatch.setattr(session, "_TOKEN", token)
    session._own_token()
    assert token.stat().st_mode & 0o777 == 0o600
    assert token.parent.stat().st_mode & 0o077 == 0 or before
    assert token.read_text() == before if before else len(token.read_text()) == 64
