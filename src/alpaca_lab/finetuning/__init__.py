"""One base model to an adapter: `finetune` is the stage, TRL's trainer does the lifting.

`recipe` makes the trainer, which takes whole optimiser steps (`trainer`) and lays their rows out in
passes (`layouts`), packed where `packed` can; `callbacks` watch; `history` is what is left.
"""
