"""Train on a Ray cluster: python ray_train.py STORE RUN --workers 8 --steps 100000 [--cpu].

STORE and RUN lie on a disk that all nodes share. Workers that fail are started again, and go on
from the newest whole state.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def work(settings: dict[str, Any]) -> None:
    """Train in one of the workers that Ray has joined and given a device each."""
    import ray.train
    import ray.train.torch

    import audiovae

    turns = {"training.domains_a_step": settings["domains_a_step"]}
    summary = audiovae.train(
        settings["store"],
        settings["run"],
        audiovae.load_config(settings["preset"], turns),
        steps=settings["steps"],
        device=str(ray.train.torch.get_device()),
        track="none",
    )
    ray.train.report({"steps": summary["steps"], "seconds": summary["seconds"]})


def main() -> None:
    """Start the workers and wait for them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--preset", default="base", help="a preset, or a TOML or JSON file")
    parser.add_argument("--domains-a-step", type=int, default=0, help="0 takes all")
    parser.add_argument("--cpu", action="store_true", help="one core a worker instead of a GPU")
    args = parser.parse_args()

    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    settings = {"store": str(args.store.resolve()), "run": str(args.run.resolve())}
    # Workers have a folder of their own: a file is named in full.
    preset = Path(args.preset)
    settings["preset"] = str(preset.resolve()) if preset.is_file() else args.preset
    TorchTrainer(
        work,
        train_loop_config={
            **settings,
            "domains_a_step": args.domains_a_step,
            "steps": args.steps,
        },
        # Figures travel on the CPU also where gradients don't.
        torch_config=TorchConfig(backend="gloo" if args.cpu else "cpu:gloo,cuda:nccl"),
        scaling_config=ScalingConfig(num_workers=args.workers, use_gpu=not args.cpu),
        run_config=RunConfig(
            name="audiovae",
            storage_path=f"{settings['run']}.ray",
            failure_config=FailureConfig(max_failures=3),
        ),
    ).fit()


if __name__ == "__main__":
    main()
