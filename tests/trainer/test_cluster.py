import json

import pytest

from trainer import cluster, errors

TWO = {"LOCKSTEP_WORKERS": "a:1,b:2", "LOCKSTEP_INDEX": "1"}
CHIEF = {"chief": ["c:9"], "worker": ["a:1"]}


def tf_config(jobs: dict, kind: str, index: object) -> dict[str, str]:
    task = {"type": kind, "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": jobs, "task": task})}


@pytest.mark.parametrize(
    ("environment", "addresses", "index"),
    [
        (TWO, ("a:1", "b:2"), 1),
        (tf_config({"worker": ["a:1", "b:2"]}, "worker", 1), ("a:1", "b:2"), 1),
        (
            tf_config(CHIEF, "worker", 0),
            ("c:9", "a:1"),
            1,
        ),
        (
            tf_config(CHIEF, "chief", 0),
            ("c:9", "a:1"),
            0,
        ),
        # A launcher's variables win over what a cloud may have set.
        (TWO | tf_config({"worker": ["z:1"]}, "worker", 0), ("a:1", "b:2"), 1),
    ],
)
def test_environment(environment, addresses, index) -> None:
    assert cluster.size(environment) == len(addresses)
    found = cluster.from_environment(environment)
    assert (found.addresses, found.index) == (addresses, index)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "LOCKSTEP_WORKERS.*neither is set.*launch.local"),
        ({"TF_CONFIG": ""}, "neither is set"),
        ({"TF_CONFIG": "{}"}, "neither is set"),
        ({"TF_CONFIG": "{not json"}, "TF_CONFIG='{not json' is malformed"),
        ({"TF_CONFIG": "[]"}, "malformed"),
        ({"TF_CONFIG": '{"cluster": {}}'}, "malformed.*KeyError.*task"),
        (tf_config({"worker": ["a:1"]}, "evaluator", 0), "'evaluator'"),
        (
            tf_config({"worker": ["a:1"]}, "worker", 1),
            "'1' must be from 0 to 0",
        ),
        (tf_config({"worker": ["a"]}, "worker", 0), "'a' is not host:port"),
        (TWO | {"LOCKSTEP_INDEX": "2"}, "'2' must be from 0 to 1"),
        (TWO | {"LOCKSTEP_INDEX": ""}, "index ''"),
        (TWO | {"LOCKSTEP_INDEX": "²"}, "index '²'"),
        (TWO | {"LOCKSTEP_WORKERS": "a:1,b:²"}, "'b:²' is not host:port"),
        (tf_config({"worker": None}, "worker", 0), "malformed.*no list: None"),
        (tf_config({"worker": 5}, "worker", 0), "malformed.*no list: 5"),
        (tf_config({"worker": "a:1"}, "worker", 0), "malformed.*no list: 'a"),
        (tf_config({"worker": ["a:1"]}, "chief", 0), "'chief'.*no address"),
        (tf_config(CHIEF, "worker", -1), "'-1' must be from 0 to 0"),
        (tf_config(CHIEF, "chief", 1), "'1' must be from 0 to 0"),
        (tf_config({"worker": ["a:1", "b:2"]}, "worker", 1.9), "'1.9' must"),
        (tf_config({"worker": ["a:1", "b:2"]}, "worker", True), "'True' must"),
        (TWO | {"LOCKSTEP_WORKERS": "a:1,a:1"}, "same address"),
        (TWO | {"LOCKSTEP_WORKERS": "a:1,b:99999"}, "b:99999.*65535"),
    ],
)
def test_bad_environment(environment, message) -> None:
    with pytest.raises(errors.ConfigError, match=message):
        cluster.from_environment(environment)
