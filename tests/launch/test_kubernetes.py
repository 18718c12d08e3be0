"""What launch/kubernetes.sh applies: schema, meaning, and every word."""

import re

import kubernetes_validate
import pytest
import yaml

from launch import placement
from tests.launch.conftest import AWKWARD, Bench

# The oldest release that kubernetes.sh promises, and a recent one.
RELEASES = ["1.31", "1.34"]
KUBERNETES = [
    "launch/kubernetes.sh",
    "--image=registry.example:5000/lockstep:1@sha256:ab",
    "--gin_file=gin/digits.gin",
]
ON_VOLUME = ["--pvc=runs", "--model_dir=/data/run 1"]
ON_BUCKET = ["--model_dir=gs://bucket/run", "--service_account=trainer"]
VARIANTS = {
    "defaults": ON_VOLUME,
    "bucket": ON_BUCKET,
    "cpu": [*ON_VOLUME, "--gpus=0", "--cpus=500m", "--memory=900M"],
    "many": [
        *ON_VOLUME,
        *("--workers=4", "--gpus=8", "--name=true", "--namespace=on"),
        *("--engine=multi_worker", "--port=20000", "--grace=300"),
        *("--node_selector=cloud.google.com/gke-accelerator=nvidia-l4",),
        *("--evaluation_gpus=1", "--max_restarts=2", "--mount=/data"),
    ],
    "horovod": [*ON_BUCKET, "--workers=2", "--engine=horovod"],
    "alone": [*ON_VOLUME, "--no_evaluation"],
}


def manifests(bench: Bench, *flags: str) -> dict[tuple[str, str], dict]:
    """What --print shows, by kind and name."""
    answer = bench.run(*KUBERNETES, "--print", *flags)
    assert answer.returncode == 0, answer.stderr
    documents = yaml.safe_load_all(answer.stdout)
    return {(d["kind"], d["metadata"]["name"]): d for d in documents}


def container(job: dict) -> dict:
    (only,) = job["spec"]["template"]["spec"]["containers"]
    return only


def as_kubernetes_runs_it(command: list[str]) -> list[str]:
    """What a container gets: $$ is $, $(NAME) a variable, if there is one."""
    return [
        re.sub(
            r"\$(\$|\((\w+)\))",
            lambda found: "$" if found[1] == "$" else "REPLACED",
            word,
        )
        for word in command
    ]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_schema(bench: Bench, variant: str, release: str) -> None:
    found = manifests(bench, *VARIANTS[variant], "--", *AWKWARD)
    assert len(found) == (2 if variant == "alone" else 3)
    for document in found.values():
        kubernetes_validate.validate(document, release, strict=True)


def test_the_schema_would_find_a_mistake(bench: Bench) -> None:
    job = manifests(bench, *ON_VOLUME)["Job", "lockstep"]
    job["spec"]["restartPolicy"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, RELEASES[0], strict=True)


@pytest.mark.parametrize("variant", VARIANTS)
def test_print_shows_what_is_applied(bench: Bench, variant: str) -> None:
    bench.fake("kubectl")
    arguments = [*KUBERNETES, *VARIANTS[variant]]
    assert bench.run(*arguments, "--", *AWKWARD).returncode == 0
    shown = bench.run(*arguments, "--print", "--", *AWKWARD).stdout
    (call,) = bench.calls()
    assert call.arguments == ["apply", "-f", "-"]
    assert call.stdin == shown
    assert "{{" not in shown.replace(AWKWARD[6], "")
    assert "# if" not in shown.replace(AWKWARD[6], "")


def test_the_training_job(bench: Bench) -> None:
    spec = manifests(bench, *VARIANTS["many"])["Job", "true"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 4
    # Two failures of the training, of which each ends four pods.
    assert spec["backoffLimit"] == 8
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["terminationGracePeriodSeconds"] == 300
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-accelerator": "nvidia-l4"
    }
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "4", "memory": "16Gi"},
        "limits": {"memory": "16Gi", "nvidia.com/gpu": 8},
    }


@pytest.mark.parametrize("name", ["lockstep", "lockstep-evaluation"])
def test_exit_codes(bench: Bench, name: str) -> None:
    """The first rule that matches an exit code decides."""
    job = manifests(bench, *ON_VOLUME)["Job", name]
    rules = job["spec"]["podFailurePolicy"]["rules"]
    by_code = {
        code: rule["action"]
        for rule in reversed(rules)
        for code in rule.get("onExitCodes", {}).get("values", [])
    }
    assert by_code == {2: "FailJob", 3: "FailJob", 75: "Ignore"}
    for rule in rules:
        on_codes = rule.get("onExitCodes")
        if on_codes:
            assert on_codes["operator"] == "In"
            assert on_codes["containerName"] == container(job)["name"]
    assert rules[-1] == {
        "action": "Ignore",
        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_service_finds_the_workers_alone(bench: Bench, variant) -> None:
    found = manifests(bench, *VARIANTS[variant])
    (service,) = (d for (kind, _), d in found.items() if kind == "Service")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    selector = service["spec"]["selector"].items()
    selected = [
        name
        for (kind, name), job in found.items()
        if kind == "Job"
        and selector <= job["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert selected == [service["metadata"]["name"]]
    assert {d["metadata"]["namespace"] for d in found.values()} == {
        "on" if variant == "many" else "default"
    }


def test_workers_find_each_other(bench: Bench) -> None:
    """Each pod's variables give launch.task the names that DNS will have."""
    found = manifests(bench, *VARIANTS["many"])
    pod = found["Job", "true"]["spec"]["template"]["spec"]
    service = found["Service", "true"]
    # A pod of an Indexed Job: JOB-INDEX, in the domain of its subdomain.
    assert pod["subdomain"] == service["metadata"]["name"]
    expected = tuple(f"true-{i}.{pod['subdomain']}:20000" for i in range(4))
    variables = {e["name"]: e["value"] for e in pod["containers"][0]["env"]}
    for index in range(4):
        variables["JOB_COMPLETION_INDEX"] = str(index)
        place = placement.find(variables, 20000)
        assert place.addresses == expected
        assert place.index == index
    command = pod["containers"][0]["command"]
    assert command[:6] == [
        *("python", "-m", "launch.task", "--engine=multi_worker"),
        *("--port=20000", "--"),
    ]
    assert service["spec"]["ports"] == [{"name": "training", "port": 20000}]
    assert pod["containers"][0]["ports"] == [
        {"name": "training", "containerPort": 20000}
    ]


@pytest.mark.parametrize(
    ("flags", "engine", "launched"),
    [
        ([], "auto", False),
        (["--engine=mirrored"], "mirrored", False),
        (["--engine=multi_worker"], "multi_worker", True),
        (["--workers=2"], "multi_worker", True),
        (["--workers=2", "--engine=horovod"], "horovod", True),
    ],
)
def test_every_word_reaches_the_container(
    bench: Bench, flags: list[str], engine: str, launched: bool
) -> None:
    found = manifests(bench, *ON_VOLUME, *flags, "--", *AWKWARD)
    command = container(found["Job", "lockstep"])["command"]
    command = as_kubernetes_runs_it(command)
    if launched:
        launcher = ["python", "-m", "launch.task", f"--engine={engine}"]
        assert command[:6] == [*launcher, "--port=12345", "--"]
        command = command[6:]
    assert command == [
        *("python", "-m", "trainer.main", "--gin_file=gin/digits.gin"),
        "--model_dir=/data/run 1",
        f'--gin_param=make_engine.name="{engine}"',
        *AWKWARD,
    ]


def test_the_evaluation_has_the_same_config(bench: Bench) -> None:
    """But an engine of its own: it is no worker of the training."""
    found = manifests(bench, *ON_VOLUME, "--workers=2", "--", *AWKWARD)
    spec = found["Job", "lockstep-evaluation"]["spec"]
    assert (spec["completions"], spec["parallelism"]) == (1, 1)
    only = container(found["Job", "lockstep-evaluation"])
    assert as_kubernetes_runs_it(only["command"]) == [
        *("python", "-m", "trainer.evaluate", "--gin_file=gin/digits.gin"),
        "--model_dir=/data/run 1",
        '--gin_param=make_engine.name="auto"',
        *AWKWARD,
    ]
    assert "LOCKSTEP_HOSTS" not in {e["name"] for e in only["env"]}
    assert "nvidia.com/gpu" not in only["resources"]["limits"]


@pytest.mark.parametrize(("flags", "mounted"), [(ON_VOLUME, 1), (ON_BUCKET, 0)])
def test_the_volume(bench: Bench, flags: list[str], mounted: int) -> None:
    for (kind, _), job in manifests(bench, *flags).items():
        if kind == "Job":
            pod = job["spec"]["template"]["spec"]
            volumes = {v["name"]: v for v in pod.get("volumes", [])}
            mounts = {
                m["name"]: m["mountPath"]
                for m in container(job).get("volumeMounts", [])
            }
            assert mounts.keys() == volumes.keys()
            assert ("runs" in mounts) == bool(mounted)
            if mounted:
                assert mounts["runs"] == "/data"
                claim = volumes["runs"]["persistentVolumeClaim"]
                assert claim == {"claimName": "runs"}
            else:
                assert pod["serviceAccountName"] == "trainer"


def test_shared_memory_is_larger_than_the_default(bench: Bench) -> None:
    job = manifests(bench, *ON_VOLUME, "--shared_memory=4Gi")["Job", "lockstep"]
    pod = job["spec"]["template"]["spec"]
    assert pod["volumes"][0]["emptyDir"] == {
        "medium": "Memory",
        "sizeLimit": "4Gi",
    }
    assert container(job)["volumeMounts"][0]["mountPath"] == "/dev/shm"


def test_gpu_nodes_are_tolerated_only_with_gpus(bench: Bench) -> None:
    for flags, tolerated in ([], True), (["--gpus=0"], False):
        job = manifests(bench, *ON_VOLUME, *flags)["Job", "lockstep"]
        pod = job["spec"]["template"]["spec"]
        assert ("tolerations" in pod) == tolerated
