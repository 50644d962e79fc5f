"""What `audiovae train` trains, in a loop of PyTorch Lightning: same batches, same losses."""

import argparse

import lightning
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

import audiovae
from audiovae.training.trainer import make_task


class Transfer(lightning.LightningModule):
    """The task as Lightning's module."""

    def __init__(self, task):
        super().__init__()
        self.task, self.model, self.parts = task, task.model, task.config.training.accumulate

    def training_step(self, number):
        """Return the loss of a batch by its number, and log what the built-in loop logs."""
        loss, figures = self.task.training_step(self.task.batch(number))
        self.log_dict(figures, batch_size=1)
        return loss

    def on_train_batch_end(self, outputs, number, index):
        """Move the averaged weights after each step of the optimiser."""
        if (number + 1) % self.parts == 0:
            self.task.average.update(number // self.parts)

    def configure_optimizers(self):
        """Return the optimiser, and its schedule in steps."""
        optimiser = self.task.optimiser
        return [optimiser.adam], [{"scheduler": optimiser.schedule(), "interval": "step"}]


def main() -> None:
    """Train; then validate and write the checkpoint with the averaged weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="a store, or a folder of domain folders")
    parser.add_argument("run", help="folder for the run")
    parser.add_argument("--preset", default="base")
    parser.add_argument("--steps", type=int, required=True)
    args = parser.parse_args()
    settings = (config := audiovae.load_config(args.preset)).training
    task = make_task(args.store, args.run, config)
    task.begin(args.steps)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator=task.device.type, devices=1, logger=CSVLogger(args.run),
        accumulate_grad_batches=settings.accumulate, gradient_clip_val=settings.max_norm,
        log_every_n_steps=1, enable_checkpointing=False,
    )  # fmt: skip
    numbers = range(args.steps * settings.accumulate)
    trainer.fit(Transfer(task), DataLoader(numbers, batch_size=None))
    task.export(args.steps, task.validate(args.steps))


if __name__ == "__main__":
    main()
