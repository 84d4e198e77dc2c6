"""Answers to scores: those of a study, with its controls, and those of anyone's file."""
