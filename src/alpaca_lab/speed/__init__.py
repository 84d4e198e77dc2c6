"""The benchmarks read: from the lines that they leave to tables, figures and pages. Nothing is run.

`benchmark_lines` says what a line holds. Of finetuning there are `finetuning_arms`,
`finetuning_speed` and its page, and `breakdown`: where a step goes. Of decoding, `decoding_arms`,
`decoding_speed` and its page, and `decoding_goals`. Several GPUs are `scale_out`,
other cards `cards`.
"""
