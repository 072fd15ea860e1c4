"""Block sizes of STA's kernels: a stated rule, checked ahead of time on every architecture (no spills)."""

# What the linear kernels keep of a line, 2 (2 n + 1) sums, is in a thread's registers: 12 harmonics leave room for the rest.
MAX_HARMONICS = 12
# One warp a program: its sums of a row are merged by shuffles alone, and a single bag still gives every multiprocessor one.
COLUMNS = 32
N_WARPS = 1
# Elements of a row that a program sums in float32, 16 a lane; beyond them in float64. The same everywhere, because sums in another
# order are other sums.
PER_SPLIT = 512
# Of the product of column sums: as many columns at a time in float32, then float64, as many at all in a program.
PRODUCT_COLUMNS = 32
PER_PRODUCT = 512
# The exact kernel's tile of scores: one a lane across, so that sums of a row stay in the thread until its end. Gradients keep three
# times as many sums: with 32 rows they spilled 16 bytes on sm_120.
EXACT_OTHER = 32
EXACT_OWN, EXACT_OWN_BACKWARD = 64, 16
EXACT_WARPS = 4


def block_f(n_features: int) -> int:
    """Returns the side of a tile that holds K; 16 is the smallest of a product."""
    return max(16, 1 << (n_features - 1).bit_length())
