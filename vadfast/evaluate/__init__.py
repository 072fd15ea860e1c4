"""How well a model finds what people labelled, by every protocol that papers use, side by side."""
