"""The five methods, one file each."""
