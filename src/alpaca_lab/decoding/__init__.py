"""From questions to answers on disk: who answers what, slots and beams, and what is measured.

`generate` is the stage. It deals the answers that runs lack (`dealing`) and asks a decoder
(`decoders`), which gives its jobs to the slots (`slots`) or the beams (`beams`) over one engine.
"""
