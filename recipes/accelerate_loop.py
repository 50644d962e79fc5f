"""What `audiovae train` trains, in a loop of Hugging Face Accelerate: same batches, same losses."""

import argparse
import json
from pathlib import Path

import torch
from accelerate import Accelerator

import audiovae
from audiovae.training.trainer import make_task


def main() -> None:
    """Train; then validate and write the checkpoint with the averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="a store, or a folder of domain folders")
    parser.add_argument("run", type=Path, help="folder for the run")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--steps", type=int, required=True)
    args = parser.parse_args()
    settings = (config := audiovae.load_config(args.preset)).training
    accelerator = Accelerator(gradient_accumulation_steps=settings.accumulate)
    task = make_task(args.store, args.run, config, device=str(accelerator.device))
    task.begin(args.steps)
    numbers = torch.utils.data.DataLoader(range(args.steps * settings.accumulate), batch_size=None)
    model, optimiser, rates, numbers = accelerator.prepare(
        task.model, task.optimiser.adam, task.optimiser.schedule(), numbers
    )
    args.run.mkdir(parents=True, exist_ok=True)
    with (args.run / "losses.jsonl").open("w") as log:
        for number in numbers:
            with accelerator.accumulate(model):
                loss, figures = task.training_step(task.batch(number))
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), settings.max_norm)
                optimiser.step()
                rates.step()
                optimiser.zero_grad()
            if accelerator.sync_gradients:
                task.average.update(number // settings.accumulate)
                accelerator.print(f"batch {number + 1}: loss {figures['loss']:.2f}")
            print(json.dumps(figures), file=log)
    task.export(args.steps, task.validate(args.steps))


if __name__ == "__main__":
    main()
