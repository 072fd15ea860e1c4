"""The way of a frame: source, preprocess, window, engine, score, alert. Nothing here imports torch."""
