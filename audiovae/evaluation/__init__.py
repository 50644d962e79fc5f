"""Trained models judged against the truth."""
