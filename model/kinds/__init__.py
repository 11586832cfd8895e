"""Every kind of object that towpath defines, once: CRDs, decoder and reference page are made from these."""
