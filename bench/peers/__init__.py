"""What others would write: each operator in the formulations that are published or obvious, all in plain PyTorch.

They are what this project's own operators must beat, and stay when those exist. Every function here is verified against a
float64 reference before it is timed.
"""
