"""Decoding laid open, for notebooks/03_decode.ipynb: answers, one draw, slots over time, beams."""
