"""Untrusted models are loaded and asked for predictions here, inside bubblewrap, and nowhere else."""
