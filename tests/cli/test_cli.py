"""The command line's promises: exit codes, one line an error, machine-readable output, no heavy import for --help."""

import json
import subprocess
import sys

import pytest

from tests.in_process import testbed


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "testbed", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def findings():
    """Of `testbed doctor`, which tries the kernel: a second of it is enough for all."""
    return json.loads(command("doctor", "--json").stdout)


def test_importing_the_package_and_help_import_neither_torch_nor_mininet():
    code = "import sys, testbed.cli.main; print([m for m in ('torch', 'mininet', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert command("--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["run", "no-such.yaml"], "no-such.yaml: cannot be read"),
        (
            ["run", "experiments/quickstart.yaml", "place.target=us-east-9"],
            "no region 'us-east-9'; did you mean 'us-east-2'",
        ),
        (["run", "experiments/quickstart.yaml", "workload.requests=9999"], "workload.requests is 9999"),
        (["run", "experiments/quickstart.yaml", "topology=aws-north-amerika"], "did you mean 'aws-north-america'"),
        (["run", "experiments/quickstart.yaml", "devices.target=h900"], "device profile 'h900' does not exist"),
        (["run", "experiments/quickstart.yaml", "models.draft=tiny-drift"], "tiny-draft"),
        (["report", "no-such-run"], "no-such-run"),
        (["probe", "no-such-topology"], "no-such-topology"),
        (["models", "check", "tiny-target", "no-such-model"], "no-such-model"),
        (["clean", "--run", "no-such-run"], "no-such-run"),
        (["images", "engine", "start", "--install"], "now called `testbed images daemon start --install`"),
    ],
)
def test_bad_input_exits_2_with_one_line_and_makes_nothing(tmp_path, arguments, complaint):
    arguments = [*arguments, "--out", tmp_path] if arguments[0] == "run" else arguments
    done = testbed(*arguments)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert line.startswith("testbed: ")
    assert complaint in line
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_usage_error_exits_2():
    assert command("run").returncode == 2
    assert testbed("run", "experiments/quickstart.yaml", "--fabric", "ovs").returncode == 2


def test_doctor_prints_the_promised_keys_and_a_fix_for_every_missing_part(findings):
    assert {"fabric", "fabric_reason", "docker", "gpu", "cores", "mininet", "lab_kernel"} <= set(findings)
    assert all(one["fix"] for one in findings["missing"])


NO_NAMESPACES = "echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all -- $@"


@pytest.mark.slow
def test_without_root_and_user_namespaces_a_run_exits_4_with_one_line_and_makes_nothing(tmp_path):
    """In a user namespace that allows no further one, without capabilities: nothing of the machine changes."""
    refused = ["unshare", "--user", "--map-root-user", "sh", "-c", NO_NAMESPACES, "-"]
    if subprocess.run([*refused, "true"], capture_output=True).returncode:
        pytest.skip("this account gets no user namespace in which to forbid one")
    run = [sys.executable, "-m", "testbed", "run", "experiments/quickstart.yaml", "--out", str(tmp_path)]
    done = subprocess.run([*refused, *run], capture_output=True, text=True, timeout=120)
    assert done.returncode == 4, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("testbed: "))
    assert "this machine lacks root or user namespaces" in line
    assert "sudo sysctl user.max_user_namespaces=" in line
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


# an emulation has the machine for itself, even one that is refused
@pytest.mark.slow
@pytest.mark.parametrize("engine", [pytest.param("emulation", marks=pytest.mark.shaped), "simulation"])
def test_an_out_that_is_a_file_exits_2_before_anything_is_run(tmp_path, engine, findings):
    if engine == "emulation" and findings["fabric"] is None:
        pytest.skip("without a fabric the emulation is refused before it asks where to write")
    out = tmp_path / "file"
    out.touch()
    done = testbed("run", "experiments/quickstart.yaml", "--engine", engine, "--out", out)
    assert done.returncode == 2, done.stderr
    assert f"testbed: --out {out}: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_fabric_this_machine_lacks_exits_4_with_the_fix(tmp_path, findings):
    lacking = [name for name, state in findings["fabrics"].items() if state != "available"]
    if not lacking:
        pytest.skip("this machine has every fabric")
    done = testbed("run", "experiments/quickstart.yaml", "--fabric", lacking[0], "--out", tmp_path)
    assert done.returncode == 4
    assert f"fabric {lacking[0]}" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_topologies_are_listed_and_shown_with_their_source():
    listed = json.loads(testbed("topology", "list", "--json").stdout)["topologies"]
    assert "us-west-2" in {one["name"]: one["regions"] for one in listed}["aws-north-america"]
    assert "Skyplane" in testbed("topology", "show", "aws-north-america").stdout
