"""Films and labels on disk, and the batches that training takes from them."""
