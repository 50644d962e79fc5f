"""The command line: parse, run a verb, print. Errors of the user are one line and exit code 2."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Union

import tyro

import audiovae
from audiovae import launch
from audiovae.atomic import FULL, why_not
from audiovae.errors import UserError
from audiovae.verbs import VERBS
from audiovae.verbs.options import as_json

DONE, OURS, USERS, INTERRUPTED, PIPE_CLOSED, TERMINATED = 0, 1, 2, 130, 141, 143
"""Exit codes. A verb may have one of its own where it has done its work but for some files: 3."""
AGAIN = "nothing half-written has a final name: run it again"
DESCRIPTION = (
    "Timbre transfer, embeddings and generation with one shared VAE encoder and a decoder for "
    "each instrument. `audiovae VERB --help` says more."
)
PLACES = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EISDIR,
    errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG, errno.EDQUOT, errno.ELOOP, errno.EFBIG,
)  # fmt: skip
"""What the system says of a path that the user can mend."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    for channel in (sys.stdout, sys.stderr):
        if isinstance(channel, io.TextIOWrapper):
            # A file's name may be any bytes.
            channel.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings(), _terminable():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            code = _run(words)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:
        # Nobody reads on: say no more, not even when Python flushes at its end.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except KeyboardInterrupt:
        print(f"audiovae: interrupted; {AGAIN}", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        print(f"audiovae: told to end; {AGAIN}", file=sys.stderr)
        return TERMINATED
    except OSError as error:
        if error.errno in PLACES and error.filename is not None:
            return _fail(f"{os.fsdecode(error.filename)}: {error.strerror}")
        if error.errno in FULL:
            return _fail(f"no file can be written any more: {why_not(error)}")
        traceback.print_exc()
        return OURS
    except Exception:
        traceback.print_exc()
        return OURS


class Terminated(BaseException):
    """SIGTERM: as with Ctrl-C, what is half done is put away before the end."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, where signals can be handled: in the main thread."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or launch.processes() > 1:
        # One of several processes may wait for another that is no more: the system ends it.
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(message: str) -> int:
    who = "audiovae" if not launch.number() else f"audiovae, process {launch.number()}"
    print(f"{who}: {_shown(' '.join(message.split()))}", file=sys.stderr)
    return USERS


def _shown(text: str) -> str:
    """Return text without what moves a terminal's cursor or turns its direction."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _run(words: list[str]) -> int:
    if words in (["--version"], ["-V"]):
        print(f"audiovae {audiovae.__version__}")
        return DONE
    verb = parse(words)
    if isinstance(verb, int):
        return verb
    if words[:1] != ["train"]:
        launch.need_one_process(" ".join(["audiovae", *words[:1]]))
    report = verb.run()
    if launch.number():
        return DONE  # The first process says it for all.
    for line in report.lines:
        print(_shown(line))
    if verb.common.json:
        print(json.dumps(as_json(report.facts)))
    return report.code


def parse(words: list[str]) -> Any:
    """Return the verb that the words ask for, or the exit code where they ask for help.

    Raises `UserError` on words that can't be understood.
    """
    kinds: Any = Union[  # noqa: UP007
        tuple(
            Annotated[kind, tyro.conf.subcommand(name, prefix_name=False)]
            for name, kind in VERBS.items()
        )
    ]
    _check_once(words)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kinds,
                prog="audiovae",
                description=DESCRIPTION,
                args=words,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if end.code in (None, 0):
            return DONE
        raise UserError(_one_line(said.getvalue(), words)) from None


def _check_once(words: list[str]) -> None:
    """Raise `UserError` where an option comes twice: the last would silently be the one."""
    seen = set()
    for word in words:
        name = word.partition("=")[0]
        if re.fullmatch(r"--[a-z][\w-]*|-[a-zA-Z]", name):
            meant = "--output" if name == "-o" else name.replace("_", "-")
            if meant in seen:
                raise UserError(f"{name} is given twice: give it once, all its values after it")
            seen.add(meant)


def _one_line(box: str, words: list[str]) -> str:
    """Return what a box of error text says as one line, and where there is more."""
    sections: list[list[str]] = [[]]
    for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines():
        text = line.strip("╭╮╰╯│─ ")
        # Edges and rules; where the terminal has no such characters, dashes.
        if "──" in line or re.fullmatch(r"-{4,}", text):
            sections.append([])
        elif text:
            sections[-1].append(text)
    titled = 0 if box.startswith("╭") else 1
    parts = [" ".join(section) for section in sections[titled:] if section]
    kept = parts[:1]
    for part in parts[1:]:
        if part.startswith("Perhaps you meant"):
            option = re.search(r"--[\w-]+", part)
            kept.append(f"perhaps {option.group()}" if option else part)
        elif not part.startswith(("For full helptext", "Argument helptext")):
            kept.append(part)
    verb = f" {words[0]}" if words and words[0] in VERBS else ""
    return f"{'; '.join(kept).rstrip('.') or 'unclear words'}; see audiovae{verb} --help"


if __name__ == "__main__":
    sys.exit(main())
