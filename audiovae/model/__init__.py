"""The networks: encoder, latent, decoders, vocoder."""
