"""From a scheduler's variables to addresses and ranks."""

import pytest

from launch import placement

# As srun sets them for 3 tasks on 2 nodes (5 on the third form).
SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "3",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "gpu[1-2]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_JOB_NODELIST": "gpu[1-4]",
    "SLURM_TASKS_PER_NODE": "2(x4)",
}
POD = {
    "LOCKSTEP_HOSTS": "run-[0-2].run",
    "JOB_COMPLETION_INDEX": "1",
    "HOSTNAME": "run-1",
}
OUTRIGHT = {
    "LOCKSTEP_WORKERS": "a:5000,a:5001, b:5000",
    "LOCKSTEP_INDEX": "1",
}


def without(variables: dict[str, str], *names: str) -> dict[str, str]:
    return {k: v for k, v in variables.items() if k not in names}


@pytest.mark.parametrize(
    ("variables", "port", "addresses", "index"),
    [
        (SLURM, 5000, "gpu1:5000 gpu1:5001 gpu2:5000", 2),
        (SLURM, 0, "gpu1:12448 gpu1:12449 gpu2:12448", 2),
        (
            SLURM | {"SLURM_JOB_ID": "307"},
            0,
            "gpu1:12448 gpu1:12449 gpu2:12448",
            2,
        ),
        (
            without(SLURM, "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
            | {"SLURM_NTASKS": "8", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"},
            1,
            "gpu1:1 gpu1:2 gpu2:1 gpu2:2 gpu3:1 gpu3:2 gpu4:1 gpu4:2",
            3,
        ),
        (POD, 0, "run-0.run:12345 run-1.run:12345 run-2.run:12345", 1),
        (POD, 80, "run-0.run:80 run-1.run:80 run-2.run:80", 1),
        (OUTRIGHT, 0, "a:5000 a:5001 b:5000", 1),
        # What is said outright wins, then Slurm.
        (OUTRIGHT | SLURM | POD, 0, "a:5000 a:5001 b:5000", 1),
        (SLURM | POD, 5000, "gpu1:5000 gpu1:5001 gpu2:5000", 2),
    ],
)
def test_find(variables, port, addresses, index) -> None:
    found = placement.find(variables, port)
    assert found.addresses == tuple(addresses.split())
    assert found.index == index


# Host of each process; then of each: local rank and size, cross rank and size.
@pytest.mark.parametrize(
    ("where", "ranks"),
    [
        ("a", [(0, 1, 0, 1)]),
        ("aa", [(0, 2, 0, 1), (1, 2, 0, 1)]),
        ("ab", [(0, 1, 0, 2), (0, 1, 1, 2)]),
        (
            "aabb",
            [(0, 2, 0, 2), (1, 2, 0, 2), (0, 2, 1, 2), (1, 2, 1, 2)],
        ),
        ("aab", [(0, 2, 0, 2), (1, 2, 0, 1), (0, 1, 1, 2)]),
        ("abb", [(0, 1, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]),
    ],
)
def test_ranks(where: str, ranks: list[tuple[int, int, int, int]]) -> None:
    addresses = tuple(f"{host}:{i + 1}" for i, host in enumerate(where))
    for index, expected in enumerate(ranks):
        found = placement.Placement(addresses, index)
        assert found.size == len(where)
        assert expected == (
            found.local_rank,
            found.local_size,
            found.cross_rank,
            found.cross_size,
        )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "none of LOCKSTEP_WORKERS, SLURM_PROCID and LOCKSTEP_HOSTS"),
        ({"TF_CONFIG": "{}"}, "Nothing says which process"),
        (without(OUTRIGHT, "LOCKSTEP_INDEX"), "LOCKSTEP_INDEX is not set"),
        (OUTRIGHT | {"LOCKSTEP_INDEX": "3"}, "LOCKSTEP_INDEX=3 .* below 3"),
        (OUTRIGHT | {"LOCKSTEP_INDEX": "-1"}, "LOCKSTEP_INDEX='-1' must be"),
        (OUTRIGHT | {"LOCKSTEP_WORKERS": "a,b"}, "'a' is not"),
        (OUTRIGHT | {"LOCKSTEP_WORKERS": "a:70000"}, "1 to 65535"),
        (OUTRIGHT | {"LOCKSTEP_WORKERS": "a:1,a:1"}, "same address"),
        (without(POD, "JOB_COMPLETION_INDEX"), "JOB_COMPLETION_INDEX is not"),
        (POD | {"LOCKSTEP_HOSTS": "run[0-"}, "LOCKSTEP_HOSTS: .* without"),
        (SLURM | {"SLURM_NTASKS": "4"}, "SLURM_NTASKS=4, but .* 3 tasks"),
        (SLURM | {"SLURM_LOCALID": "1"}, "srun --distribution=block"),
        (SLURM | {"SLURM_PROCID": "x"}, "SLURM_PROCID='x' must be a whole"),
        (without(SLURM, "SLURM_JOB_ID"), "SLURM_JOB_ID is not set"),
        (SLURM | {"SLURM_STEP_NODELIST": "gpu1"}, "has 1"),
        (SLURM | {"SLURM_STEP_TASKS_PER_NODE": "?"}, "no number above 0"),
    ],
)
def test_find_says_what_is_wrong(variables, message: str) -> None:
    with pytest.raises(placement.PlacementError, match=message):
        placement.find(variables)


def test_jobs_that_share_a_node_get_ports_of_their_own() -> None:
    ports = [
        int(placement.find(SLURM | {"SLURM_JOB_ID": str(job)}).addresses[0][5:])
        for job in range(1000, 1300)
    ]
    assert len(set(ports)) == 300
    assert min(ports) >= 1024
    # Linux gives 32768 and above to outgoing connections.
    assert max(ports) + 64 <= 32768
