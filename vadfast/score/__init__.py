"""Scores films with a bundle: ``python -m vadfast.score``. Torch-free, like the runtime."""
