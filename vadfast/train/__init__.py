"""Training in plain PyTorch - resumable, deterministic, every file whole."""
