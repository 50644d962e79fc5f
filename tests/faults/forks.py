"""A process that has everything imported, and forks one child for each command line.

Each line of its standard input is a request in JSON, each answer a line of its standard output.
A child runs `audiovae.cli.main` as `python -m audiovae` would, without the seconds of its start, so
that hundreds can be killed. See `Forks` in harness.py.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CALLS = ("rename", "remove", "rmdir", "mkdir", "link", "symlink", "truncate")
CHANGES = frozenset(f"os.{call}" for call in _CALLS)
"""What Python tells of before it changes the file system."""


def warm_up() -> None:
    """Import what verbs import when they run."""
    import torch

    import audiovae

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(audiovae.__path__, "audiovae."):
        if module.name.split(".")[1] in ("apps", "audio", "corpus", "model", "training", "verbs"):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                if error.name != "ray":  # Of an extra.
                    raise
    for name in (
        "audiovae.config_files",
        "librosa",
        "matplotlib.figure",
        "soundfile",
        "sklearn.linear_model",
    ):
        importlib.import_module(name)
    # Imported by its first call.
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
    # Pictures are most of a tiny training: one will do.
    from audiovae.apps import export_torchscript
    from audiovae.training import previews

    previews.SOURCES = previews.TARGETS = 1
    # A fresh process, and many sizes of buffers, would be most of a tiny export.
    sizes = export_torchscript.buffer_sizes
    export_torchscript.buffer_sizes = lambda hop: sizes(hop)[-1:]
    export_torchscript.subprocess = SimpleNamespace(run=run_forked, DEVNULL=subprocess.DEVNULL)


def run_forked(words: list[str], cwd: str, **_: object) -> SimpleNamespace:
    """Do what `subprocess.run` does with `[python, -W, ignore, -c, code, ...]`, in a fork."""
    code, out = words[4], Path(cwd, "out.txt")
    child = os.fork()
    if not child:
        try:
            os.chdir(cwd)
            sys.argv = ["-c", *words[5:]]
            with open(out, "w") as sys.stdout:
                exec(compile(code, "code", "exec"), {"__name__": "__main__"})
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    said = out.read_text()
    return SimpleNamespace(returncode=status, stdout=said, stderr="failed")


def run_here(words: list[str]) -> None:
    """Run a command line in this process, so that what it compiles is there for all children."""
    from audiovae.cli import main

    if words and main(words) != 0:
        raise SystemExit(f"{words} failed")


class Watch:
    """Counts the changes that this process makes below a folder.

    At one of them it sends itself a signal, or spoils a file.
    """

    def __init__(self, request: dict[str, Any]) -> None:
        self.root, self.at, self.signal = request["root"], request.get("event"), request["signal"]
        self.spoil = request.get("spoil")
        self.count = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if not (isinstance(arguments[2], int) and arguments[2] & WRITES):
                return
        elif event not in CHANGES:
            return
        try:
            path = os.path.abspath(os.fsdecode(arguments[0]))
        except TypeError:  # A descriptor.
            return
        if not path.startswith(self.root):
            return
        if self.count == self.at:
            os.kill(os.getpid(), self.signal)
        self.count += 1
        if self.spoil is not None and self.count > self.spoil[0]:
            (_, victim, content), self.spoil = self.spoil, None
            if content is None:
                os.unlink(victim)
            else:
                Path(victim).write_bytes(bytes.fromhex(content))


def jump_clocks(seed: int) -> None:
    """Let the time of day leap by up to a year, either way, at every look."""
    generator, true = random.Random(seed), time.time

    def leap() -> float:
        return true() + generator.uniform(-1, 1) * 365 * 86400

    time.time = leap


def run(request: dict[str, Any]) -> None:
    """Be the child: take the request's limits, run its command line, end with its exit code."""
    os.setsid()
    root = request["root"]
    os.chdir(root)
    for number, name in ((1, "out"), (2, "err")):
        target = os.open(f"{request['said']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.get("most_bytes") is not None:
        most = request["most_bytes"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    if request.get("memory") is not None:
        resource.setrlimit(resource.RLIMIT_AS, (request["memory"], request["memory"]))
    if request.get("clock") is not None:
        jump_clocks(request["clock"])
    if request.get("user") is not None:
        os.setgroups([])
        os.setgid(request["user"])
        os.setuid(request["user"])
    watch = Watch(request)
    sys.addaudithook(watch)

    from audiovae.cli import main

    code = main(request["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(request["pipe"], str(watch.count).encode())
    os._exit(code)


def send(child: int, number: int) -> None:
    """Send a signal to a child and to what it started; to itself alone where it has just begun."""
    try:
        os.killpg(child, number)
    except ProcessLookupError:
        os.kill(child, number)


def serve(request: dict[str, Any]) -> dict[str, Any]:
    """Fork a child, send it a signal when its time has come, and say how it ended.

    One that stops is left as it is; a request to `kill` it ends it.
    """
    if "kill" in request:
        send(request["kill"], signal.SIGKILL)
        return {"code": os.waitstatus_to_exitcode(os.waitpid(request["kill"], 0)[1])}
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        try:
            os.close(reading)
            run(request | {"pipe": writing})
        finally:
            os._exit(99)
    os.close(writing)
    after, sent = request.get("after"), False
    while True:
        ended, status, usage = os.wait4(child, os.WNOHANG | os.WUNTRACED)
        if ended and os.WIFSTOPPED(status):
            os.close(reading)
            return {"stopped": child}
        passed = time.monotonic() - started
        if ended:
            break
        if after is not None and not sent and passed >= after:
            send(child, request["signal"])
            sent = True
        if passed > request["most_seconds"]:
            send(child, signal.SIGKILL)
        time.sleep(0.0005 if after is not None and not sent else 0.005)
    counted = os.read(reading, 100)
    os.close(reading)
    said = {name: Path(f"{request['said']}.{name}").read_bytes() for name in ("out", "err")}
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": passed,
        "events": int(counted or 0),
        "memory": usage.ru_maxrss,
        **{name: text.decode("utf-8", "replace") for name, text in said.items()},
    }


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warm_up()
    run_here(sys.argv[1:])
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), file=answers, flush=True)
