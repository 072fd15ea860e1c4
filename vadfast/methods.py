"""The names of the methods; a command's --help shows them without loading PyTorch."""

METHODS = ("adl", "apn", "mtl", "std", "sta")
# These score bags of features, not frames.
BAG_METHODS = ("sta",)
