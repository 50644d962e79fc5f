"""Objectives, the loop, and what each kind of training is made of."""
