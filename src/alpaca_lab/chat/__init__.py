"""Ask a finetuned model: its study's engine, template and sampler, in a terminal or a notebook."""
