"""The cluster files, checked offline: by the schemas of Ray, EC2, Kubernetes and KubeRay."""

import copy
import gzip
import json
import re
import sys
from pathlib import Path

import botocore.session
import jsonschema
import kubernetes_validate
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

from ray_slm import launch
from ray_slm.cluster.submit import locked_packages, runtime_env

HERE = Path(__file__).parents[1]
LAUNCHER = yaml.safe_load((HERE / "cluster.yaml").read_text())
KUBERAY = yaml.safe_load((HERE / "kuberay.yaml").read_text())
TYPES = LAUNCHER["available_node_types"]
SPOT = ("tokenizing", "training", "evaluating")
SPEC = KUBERAY["spec"]["rayClusterSpec"]
PODS = {"head": SPEC["headGroupSpec"]["template"]} | {
    group["groupName"]: group["template"] for group in SPEC["workerGroupSpecs"]
}


class Access(yaml.SafeLoader):
    """CloudFormation's short forms of functions."""


def as_function(loader, suffix, node):
    return {suffix: loader.construct_scalar(node)}


Access.add_multi_constructor("!", as_function)
ACCESS = yaml.load((HERE / "cluster-access.yaml").read_text(), Access)


def test_ray_accepts_the_launcher_file():
    found = prepare_config(copy.deepcopy(LAUNCHER))
    validate_config(found)
    assert {name: kind["max_workers"] for name, kind in found["available_node_types"].items()} == {
        "head": 0,
        "tokenizing": 4,
        "training": 6,
        "evaluating": 6,
    }
    assert found["max_workers"] >= sum(TYPES[name]["max_workers"] for name in SPOT)


@pytest.mark.parametrize("spoil", ["max_worker", "docke"])
def test_ray_refuses_a_misspelt_one(spoil):
    with pytest.raises(Exception, match=spoil):
        validate_config(prepare_config({**copy.deepcopy(LAUNCHER), spoil: 1}))


@pytest.mark.parametrize("name", TYPES)
def test_ec2_accepts_each_node(name):
    model = botocore.session.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    config = {key: value for key, value in TYPES[name]["node_config"].items() if key != "SubnetIds"}
    report = ParamValidator().validate({**config, "MinCount": 1, "MaxCount": 1}, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("name", TYPES)
def test_nodes_are_ours_alone(name):
    """Ray's own defaults open SSH to everybody and allow all of S3 and EC2."""
    config = TYPES[name]["node_config"]
    assert config["SecurityGroupIds"]
    assert config["IamInstanceProfile"]["Name"].startswith("ray-slm-")
    assert config["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    assert all(disk["Ebs"]["Encrypted"] for disk in config["BlockDeviceMappings"])
    spot = config.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
    assert spot == (name in SPOT)
    assert TYPES[name].get("min_workers", 0) == 0


def test_ray_starts_with_a_token_and_the_dashboard_on_loopback():
    starts = LAUNCHER["head_start_ray_commands"] + LAUNCHER["worker_start_ray_commands"]
    started = [line for line in starts if "ray start" in line]
    assert len(started) == 2
    assert all("RAY_AUTH_MODE=token" in line for line in started)
    assert "--dashboard-host=127.0.0.1" in started[0]
    assert any("ray_slm.cluster.spot" in line for line in LAUNCHER["worker_start_ray_commands"])
    assert any(
        "-c /home/ray/ray_slm/constraints.txt" in line for line in LAUNCHER["setup_commands"]
    )


def test_nodes_keep_the_payloads_where_a_job_looks_for_them(tmp_path, monkeypatch):
    command = next(line for line in LAUNCHER["setup_commands"] if "corpora.assets" in line)
    (folder,) = re.findall(r"corpora\.assets (\S+)", command)
    home, path = tmp_path / "home", Path(folder.replace("/home/ray", str(tmp_path / "home")))
    path.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launch, "__file__", str(tmp_path / "job" / "ray_slm" / "launch.py"))
    assert launch.default_assets() == path


def test_the_roles_allow_one_bucket_and_no_stranger_may_connect():
    made = ACCESS["Resources"]
    (rule,) = made["Nodes"]["Properties"]["SecurityGroupIngress"]
    assert (rule["FromPort"], rule["CidrIp"]) == (22, {"Ref": "Office"})
    assert ACCESS["Parameters"]["Office"]["AllowedPattern"].endswith("/32")
    statements = made["StudyBucket"]["Properties"]["PolicyDocument"]["Statement"]
    resources = [statement["Resource"]["Sub"] for statement in statements]
    assert resources == ["arn:aws:s3:::${Bucket}/${Prefix}/*", "arn:aws:s3:::${Bucket}"]
    assert all(not action.endswith("*") for s in statements for action in s["Action"])
    worker = made["WorkerRole"]["Properties"]
    assert worker["ManagedPolicyArns"] == [{"Ref": "StudyBucket"}]
    assert "Policies" not in worker


def definition(kind):
    """How a cluster with KubeRay defines a kind, strict: what it does not know is refused."""
    path = Path(sys.prefix) / "definitions" / "resources.json.gz"
    assert path.is_file(), f"{path} does not exist: run `make setup`"
    (found,) = json.loads(gzip.decompress(path.read_bytes()))[kind]
    found["properties"]["metadata"] = {"type": "object"}  # Kubernetes' own, by reference
    return refusing_strangers(found)


def refusing_strangers(schema):
    if isinstance(schema, list):
        return [refusing_strangers(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: refusing_strangers(part) for name, part in schema.items()}
    if isinstance(found.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found


@pytest.fixture(scope="module")
def ray_job():
    """RayJob v1 as published, and the fields that came after the release that is published."""
    found = definition("rayjob")
    spec = found["properties"]["spec"]["properties"]
    cluster = spec["rayClusterSpec"]["properties"]
    spec["backoffLimit"] = {"type": "integer", "minimum": 0}  # 1.2
    cluster["autoscalerOptions"]["properties"]["version"] = {"enum": ["v1", "v2"]}  # 1.3
    mode = {"mode": {"enum": ["token", "disabled"]}}
    cluster["authOptions"] = refusing_strangers({"type": "object", "properties": mode})  # 1.5
    return found


def test_kuberays_file_is_a_ray_job(ray_job):
    jsonschema.validate(KUBERAY, ray_job)


def test_what_the_published_definition_lacks_is_what_came_later():
    errors = jsonschema.Draft202012Validator(definition("rayjob")).iter_errors(KUBERAY)
    said = " ".join(sorted(error.message for error in errors))
    assert re.findall(r"\('(\w+)' was unexpected\)", said) == [
        "authOptions",
        "backoffLimit",
        "version",
    ]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda job: job.update(spc={}),
        lambda job: job["spec"].pop("entrypoint"),
        lambda job: job["spec"].update(ttlSecondsAfterFinish=1),
        lambda job: job["spec"].update(activeDeadlineSeconds="a week"),
        lambda job: job["spec"]["rayClusterSpec"].update(rayVersion=2.6),
        lambda job: job["spec"]["rayClusterSpec"]["autoscalerOptions"].update(upscalingMode="Fast"),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"].pop("template"),
        lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(maxReplica=1),
        lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("groupName"),
    ],
)
def test_a_spoilt_ray_job_is_refused(spoil, ray_job):
    spoilt = copy.deepcopy(KUBERAY)
    spoil(spoilt)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spoilt, ray_job)


def kubernetes_takes(template):
    """Raise for what Kubernetes does not know, too."""
    pod = {"apiVersion": "v1", "kind": "PodTemplate", "template": template}
    kubernetes_validate.validate(pod, "1.37", strict=True)


@pytest.mark.parametrize("name", PODS)
def test_kubernetes_accepts_each_pod(name):
    kubernetes_takes(PODS[name])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pod: pod.update(restartPolcy="Never"),
        lambda pod: pod["tolerations"][0].update(oprator="Exists"),
        lambda pod: pod["containers"][0].pop("name"),
        lambda pod: pod["containers"][0]["resources"].update(limits={"cpu": ["96"]}),
        lambda pod: pod["volumes"][0].update(emptyDr={}),
    ],
)
def test_kubernetes_refuses_a_spoilt_pod(spoil):
    template = copy.deepcopy(PODS["training"])
    spoil(template["spec"])
    with pytest.raises(jsonschema.ValidationError):
        kubernetes_takes(template)


def test_both_files_describe_the_same_cluster():
    groups = {group["groupName"]: group["maxReplicas"] for group in SPEC["workerGroupSpecs"]}
    assert groups == {name: TYPES[name]["max_workers"] for name in SPOT}
    pinned = dict(
        line.split("==")
        for line in (HERE / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    assert SPEC["rayVersion"] == pinned["ray"]
    assert f":{pinned['ray']}-" in LAUNCHER["docker"]["image"]


def test_a_jobs_packages_are_the_locks():
    found = locked_packages(HERE)
    pins = (HERE / "constraints.txt").read_text().splitlines()
    for pin in pins:
        if "==" in pin and not pin.startswith(("#", "ray==")):
            assert pin in found, pin
    assert not any(package.startswith("ray") for package in found)
    env = runtime_env(HERE, "lock")
    assert env["pip"]["packages"] == found
    assert "pip" not in runtime_env(HERE, "nodes")
