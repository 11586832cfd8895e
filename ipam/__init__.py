"""Which node owns which block of addresses, and the files by which the CNI plugins hand them out."""
