"""A finetuned model taken out of the lab: as an adapter, as a 16-bit checkpoint, as a GGUF file.

Each is written apart, read back from its files alone and asked the study's first questions before
it gets its name; the list of its checksums comes last.
"""
