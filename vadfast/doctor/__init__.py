"""``python -m vadfast.doctor``: what this machine would run, and the sentence why not something faster."""
