"""``towpath ipam``: pools, and the blocks that are dealt out of them."""
