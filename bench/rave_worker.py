"""RAVE v2 in its own environment: a run of encode, decode or both for each line on stdin.

Called as `rave_worker.py THREADS SECONDS`. It imports nothing of audiovae.
"""

import logging
import sys
from pathlib import Path

logging.disable(logging.ERROR)  # Its import says which of its files it can't find.

import cached_conv  # noqa: E402
import gin  # noqa: E402
import rave  # noqa: E402
import torch  # noqa: E402


def main() -> None:
    """Build the model, then answer."""
    threads, seconds = int(sys.argv[1]), float(sys.argv[2])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cached_conv.use_cached_conv(False)
    configs = Path(rave.__file__).parent / "configs"
    gin.add_config_file_search_path(str(configs))
    gin.parse_config_file(str(configs / "v2.gin"))
    model = rave.RAVE(n_channels=1).eval()
    samples = round(seconds * 44_100 / 2048) * 2048  # its hop
    audio = 0.1 * torch.randn(1, 1, samples)

    def encode() -> torch.Tensor:
        return model.encoder.reparametrize(model.encode(audio))[0]

    with torch.inference_mode():
        z = encode()
        assert model.decode(z).shape == audio.shape
        jobs = {"encode": encode, "decode": lambda: model.decode(z)}
        jobs["pair"] = lambda: model.decode(encode())
        print("ready", flush=True)
        for line in sys.stdin:
            jobs[line.strip()]()
            print("done", flush=True)


if __name__ == "__main__":
    main()
