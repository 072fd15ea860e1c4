"""Where scores and events go: JSON lines, a plot, a film."""
