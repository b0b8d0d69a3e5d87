"""The cluster files, checked offline: by Ray's schema, EC2's, Kubernetes' and RayJob's fields."""

import copy
import re
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


def strict(properties, required=()):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


# The fields of RayJob v1 that are KubeRay's own and that we use, strict, by hand: no package that
# ships its definition was found.  Compared on 2026-11-21 with KubeRay's API reference and Go types.
# Pod templates are of Kubernetes' own type in both, whose schema is published and used below.
TEXT, WHOLE, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
TEMPLATE = {"type": "object", "required": ["spec"]}
GROUP = strict(
    {
        "groupName": TEXT,
        "replicas": WHOLE,
        "minReplicas": WHOLE,
        "maxReplicas": WHOLE,
        "rayStartParams": TEXTS,
        "template": TEMPLATE,
    },
    ["groupName", "minReplicas", "maxReplicas", "template"],
)
HEAD = strict(
    {
        "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
        "rayStartParams": TEXTS,
        "template": TEMPLATE,
    },
    ["template"],
)
SCALER = strict(
    {
        "version": {"enum": ["v1", "v2"]},
        "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
        "idleTimeoutSeconds": WHOLE,
    }
)
CLUSTER = strict(
    {
        "rayVersion": TEXT,
        "authOptions": strict({"mode": {"enum": ["token", "disabled"]}}),
        "enableInTreeAutoscaling": FLAG,
        "autoscalerOptions": SCALER,
        "headGroupSpec": HEAD,
        "workerGroupSpecs": {"type": "array", "items": GROUP},
    },
    ["headGroupSpec"],
)
RAY_JOB = strict(
    {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {"type": "object"},
        "spec": strict(
            {
                "entrypoint": TEXT,
                "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
                "shutdownAfterJobFinishes": FLAG,
                "ttlSecondsAfterFinished": WHOLE,
                "activeDeadlineSeconds": WHOLE,
                "backoffLimit": WHOLE,
                "runtimeEnvYAML": TEXT,
                "rayClusterSpec": CLUSTER,
            },
            ["entrypoint", "rayClusterSpec"],
        ),
    },
    ["apiVersion", "kind", "metadata", "spec"],
)


def test_kuberays_file_has_the_fields_of_a_ray_job():
    jsonschema.validate(KUBERAY, RAY_JOB)


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


def test_a_misspelt_field_would_be_seen():
    spoilt = copy.deepcopy(KUBERAY)
    spoilt["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(spoilt, RAY_JOB)


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
