"""Recordings: prepared once into a store, then read as balanced batches."""
