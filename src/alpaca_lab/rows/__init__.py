"""What `data` is made of: reading, validating, clustering near-duplicates, finding overlaps."""
