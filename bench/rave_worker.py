"""RAVE v2 in its own environment: a job for each line on stdin.

Called as `rave_worker.py THREADS MINUTE.npy SHORT.npy`, two sounds at 44.1 kHz. `encode`, `decode`
and `pair` take the first, `short` is the pair of the second. `train` is one step of phase 1 with
its own batch (8 clips of 131,072 samples, noise: no reading, no augmentation, no log). It imports
nothing of audiovae.
"""

import logging
import sys
from pathlib import Path

logging.disable(logging.ERROR)  # Its import says which of its files it can't find.

import cached_conv  # noqa: E402
import gin  # noqa: E402
import numpy as np  # noqa: E402
import rave  # noqa: E402
import torch  # noqa: E402

HOP = 2048
ROWS, SAMPLES = 8, 131_072
"""What its training script takes when it is not told otherwise."""


def main() -> None:
    """Build the model, then answer."""
    torch.set_num_threads(int(sys.argv[1]))
    torch.manual_seed(0)
    cached_conv.use_cached_conv(False)
    configs = Path(rave.__file__).parent / "configs"
    gin.add_config_file_search_path(str(configs))
    gin.parse_config_file(str(configs / "v2.gin"))
    model = rave.RAVE(n_channels=1).eval()
    audio, short = (load(path) for path in sys.argv[2:])

    def encode(audio: torch.Tensor) -> torch.Tensor:
        return model.encoder.reparametrize(model.encode(audio))[0]

    jobs = {"encode": lambda: encode(audio), "decode": lambda: model.decode(z)}
    jobs |= {"pair": lambda: model.decode(encode(audio))}
    jobs |= {"short": lambda: model.decode(encode(short))}
    trained = Trained()
    with torch.inference_mode():
        z = encode(audio)
        assert model.decode(z).shape == audio.shape
    print("ready", flush=True)
    for line in sys.stdin:
        job = line.strip()
        if job == "train":
            trained.step()
        else:
            with torch.inference_mode():
                jobs[job]()
        print("done", flush=True)


def load(path: str) -> torch.Tensor:
    """Return a sound `(1, 1, sample)`, a whole number of hops."""
    sound = np.load(path)
    return torch.from_numpy(sound[: len(sound) // HOP * HOP])[None, None]


class Trained:
    """Another such model in training; its trainer's part is done here: optimisers, no log."""

    def __init__(self) -> None:
        self.model = rave.RAVE(n_channels=1).train()
        optimisers = [each["optimizer"] for each in self.model.configure_optimizers()]
        self.model.optimizers = lambda: optimisers
        self.model.log = self.model.log_dict = lambda *args, **kwargs: None
        self.count = 0

    def step(self) -> None:
        """Take a step of phase 1: spectral distances and KL, before the discriminator."""
        assert not self.model.warmed_up
        self.model.training_step(0.1 * torch.randn(ROWS, 1, SAMPLES), self.count)
        self.count += 1


if __name__ == "__main__":
    main()
