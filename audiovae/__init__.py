"""One shared VAE encoder, a decoder for each music domain, a vocoder."""

__version__ = "0.1.0"
