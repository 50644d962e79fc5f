"""What starts a training elsewhere: the files of docs/launch are what shells and operators read."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from audiovae.cli import parse
from audiovae.config_files import load_config

ROOT = Path(__file__).parents[1]
LAUNCH = ROOT / "docs" / "launch"
SCRIPTS = sorted(LAUNCH.glob("*.slurm"))
VALUES = {
    "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "64", "SLURM_JOB_NUM_NODES": "2",
    "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SKYPILOT_NODE_IPS": "10.0.0.1",
    "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NUM_GPUS_PER_NODE": "4", "SKYPILOT_NODE_RANK": "0",
}  # fmt: skip
"""What Slurm and SkyPilot set."""


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((LAUNCH / name).read_text("utf-8"))


def sky_script() -> str:
    return "#!/bin/bash\nset -eu\n" + manifest("sky.yaml")["run"]


def page_scripts() -> list[str]:
    text = (ROOT / "docs" / "launch.md").read_text("utf-8")
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def scripts() -> dict[str, str]:
    """Return the text of every shell script, by where it stands."""
    found = {path.name: path.read_text("utf-8") for path in SCRIPTS}
    return found | {"sky.yaml": sky_script(), "launch.md": "#!/bin/bash\n" + page_scripts()[0]}


def commands(script: str, values: dict[str, str]) -> list[list[str]]:
    """Return the words of each command that runs audiovae, variables filled in."""
    found = []
    for line in script.replace("\\\n", " ").splitlines():
        filled = re.sub(r"\$(\w+)", lambda name: values.get(name[1], "unset"), line)
        words = [] if line.lstrip().startswith("#") else shlex.split(filled)
        if "audiovae" in words and "pip" not in words:
            found.append(words)
    return found


def options(words: list[str]) -> dict[str, str]:
    """Return the options of torchrun in a command, `--name=value` or `--name value`."""
    ours = words[words.index("torchrun") + 1 : words.index("audiovae")]
    joined = " ".join(ours).replace("=", " ").split()
    return {a: b for a, b in itertools.pairwise(joined) if a.startswith("--")}


def audiovae(words: list[str]) -> Any:
    return parse(words[words.index("audiovae") + 1 :])


@pytest.mark.parametrize("name", scripts())
def test_shells_read_them(name: str) -> None:
    text = scripts()[name]
    told = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    if shutil.which("shellcheck") is not None:
        words = ["shellcheck", "--shell=bash", "--severity=style", "-"]
        told = subprocess.run(words, input=text, capture_output=True, text=True)
        assert told.returncode == 0, told.stdout


@pytest.mark.parametrize("name", [n for n in scripts() if n != "embed-array.slurm"])
def test_torchrun_and_the_program_know_their_options(name: str) -> None:
    from torch.distributed.run import get_args_parser

    values = VALUES | {"store": "store", "run": "runs/base", "head": "node1"}
    (words,) = commands(scripts()[name], values | manifest("sky.yaml")["envs"])
    verb = audiovae(words)
    assert type(verb).__name__ == "Train" and verb.settings.steps == 100_000
    assert "unset" not in words
    read = get_args_parser().parse_args(words[words.index("torchrun") + 1 :])
    assert read.module and read.training_script == "audiovae"
    assert int(options(words)["--max-restarts"]) == read.max_restarts > 0
    assert read.standalone or read.nnodes == "2"
    assert verb.common.device == "cuda"


def test_the_array_gives_every_share_once() -> None:
    text = scripts()["embed-array.slurm"]
    first, last = re.search(r"--array=(\d+)-(\d+)", text).groups()  # type: ignore[union-attr]
    (words,) = commands(text, VALUES | {"sounds": "sounds", "out": "out"})
    assert words[words.index("--shard") + 1] == f"3/{VALUES['SLURM_ARRAY_TASK_COUNT']}"
    # Shares are counted from 0.
    assert (int(first), int(last)) == (0, int(VALUES["SLURM_ARRAY_TASK_COUNT"]) - 1)


def test_embed_takes_its_share() -> None:
    (words,) = commands(scripts()["embed-array.slurm"], VALUES | {"sounds": "sounds", "out": "out"})
    assert audiovae(words).shard == "3/64"


def test_jobs_of_slurm_are_queued_again_and_have_a_name() -> None:
    for path in SCRIPTS:
        told = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", path.read_text(), re.MULTILINE))
        assert {"requeue", "job-name", "time", "output"} <= set(told)
    told = dict(re.findall(r"--([\w-]+)=(\d+)", (LAUNCH / "train.slurm").read_text()))
    assert told["gpus-per-node"] == told["nproc-per-node"] and told["ntasks-per-node"] == "1"


def test_the_pytorchjob_has_what_its_operator_needs() -> None:
    job = manifest("pytorchjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    spec = job["spec"]
    worker = spec["pytorchReplicaSpecs"]["Worker"]
    elastic = spec["elasticPolicy"]
    assert elastic["minReplicas"] == worker["replicas"] == elastic["maxReplicas"]
    assert worker["restartPolicy"] == "OnFailure" and elastic["maxRestarts"] > 0
    pod = worker["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "pytorch"  # the operator looks for that name
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert spec["nprocPerNode"] == str(gpus)
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    assert all(isinstance(entry["value"], str) for entry in container["env"])
    words = [*container["command"], *container["args"]]
    assert all(isinstance(word, str) for word in words)
    verb = audiovae(words)
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert str(verb.store).startswith(mounts[0]) and str(verb.output).startswith(mounts[0])


def test_sky_has_what_it_needs() -> None:
    task = manifest("sky.yaml")
    known = {"name", "num_nodes", "resources", "workdir", "envs", "file_mounts", "setup", "run"}
    assert set(task) == known
    assert task["num_nodes"] == 2 and ":" in task["resources"]["accelerators"]
    assert all(isinstance(value, str) for value in task["envs"].values())
    (mount,) = task["file_mounts"]
    assert all(task["envs"][name].startswith(mount) for name in ("STORE", "RUN"))
    used = set(re.findall(r"\$(\w+)", task["run"])) - {"head"}
    assert used <= set(task["envs"]) | set(VALUES)


def test_the_script_for_ray_calls_train_as_it_is() -> None:
    import audiovae

    tree = ast.parse((LAUNCH / "ray_train.py").read_text("utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (train,) = [c for c in calls if ast.unparse(c.func) == "audiovae.train"]
    inspect.signature(audiovae.train).bind(
        *train.args, **{str(word.arg): word.value for word in train.keywords}
    )
    # Workers have a folder of their own: paths are whole.
    assert "preset.resolve()" in ast.unparse(tree)
    assert load_config("base", {"training.domains_a_step": 3}).training.domains_a_step == 3


def test_the_page_names_every_file_and_is_found() -> None:
    page = (ROOT / "docs" / "launch.md").read_text("utf-8")
    for path in LAUNCH.iterdir():
        assert path.name.startswith(("__", ".")) or f"launch/{path.name}" in page
    for place in ("README.md", "docs/cluster.md"):
        text = (ROOT / place).read_text("utf-8")
        assert "launch.md" in text and "scaling.md" in text, place
