"""Names of stages that the tables look up."""

READERS = ("resident", "memmap", "files")
STEPS = 5
"""Steps of a training in one turn."""
TRAIN = f"VAE training, {STEPS} steps, {{}}"
TRAIN_VOCODER = f"vocoder training, {STEPS} steps"
FILES = "transfer, file to file, auto"
EMBED = "embed, file to array, auto"
START = "start: import, and load the shipped model for one domain"
BUFFERS = (512, 2048)
LIVE = "live, causal model, buffers of {}, {}"
GRIFFIN_LIM = "Griffin-Lim, fp32"
RAVE = "RAVE v2, pair, fp32"
RAVE_SHORT = "RAVE v2, pair of the short sound, fp32"
RAVE_TRAIN = "RAVE v2, step of training, phase 1, fp32"
PAIRS = {
    "EnCodec": "EnCodec 24 kHz, pair, fp32",
    "DAC": "DAC 44.1 kHz, pair, fp32",
    "Mimi": "Mimi 24 kHz, pair, fp32",
    "Oobleck": "Oobleck (Stable Audio, stereo), pair, fp32",
    "Vocos": "Vocos 44.1 kHz (vocoder), fp32",
}
"""Stages by the jobs of codecs_worker.py."""
CODECS = ("EnCodec", "DAC", "Mimi", "Oobleck")

SHORT_SECONDS = 10
"""Length of the sound that a model of many domains transfers."""
CLIP_SECONDS = 2.0
"""Length of the clips in a batch."""
TRAINING_CLIPS = 64
"""Clips in a step of training, whatever the number of domains."""
