"""A QLoRA forward and backward pass over whole rows laid end to end, with no padding."""
