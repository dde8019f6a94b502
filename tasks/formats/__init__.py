"""Readers of single files: formats, encodings, packing, and the limits of what they read."""
