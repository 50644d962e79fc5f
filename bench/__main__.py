"""Time every stage on one and two threads and write the table: `python -m bench`.

Each number of threads runs in a process of its own, since the libraries read it when they start.
Inside one, the stages take turns, so that a slow minute of the machine falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bench.table import load_average, write_table

HERE = Path(__file__).parent


def main() -> None:
    """Parse, run a process for each number of threads, write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=9, help="timings of each stage")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the sound used")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "bench.md")
    parser.add_argument(
        "--rivals", type=Path, metavar="FOLDER", help="time rivals too, in environments made here"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        from bench.stages import measure

        print(json.dumps(measure(args.threads[0], args.repeats, args.seconds, args.rivals)))
        return
    results, load = {}, load_average()
    for threads in args.threads:
        print(f"timing on {threads} thread{'s' * (threads > 1)}", file=sys.stderr, flush=True)
        results[threads] = run_worker(threads, args.repeats, args.seconds, args.rivals)
    table = write_table(results, args.output, load)
    print(table)


def run_worker(threads: int, repeats: int, seconds: float, rivals: Path | None) -> dict:
    """Time all stages in a process of its own and return what it printed."""
    command = [sys.executable, "-m", "bench", "--worker", "--threads", str(threads)]
    command += ["--repeats", str(repeats), "--seconds", str(seconds)]
    if rivals is not None:
        command += ["--rivals", str(rivals)]
    done = subprocess.run(command, env=environment(threads), stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"timing on {threads} threads ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def environment(threads: int) -> dict[str, str]:
    """Return the environment of a process with so many threads that finds this package."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    counts = dict.fromkeys(names, str(threads))
    return os.environ | counts | {"PYTHONPATH": os.pathsep.join(paths)}


if __name__ == "__main__":
    main()
