"""A paper's table as one command: rows and sizes trained over several seeds, evaluated, and set beside the printed numbers."""
