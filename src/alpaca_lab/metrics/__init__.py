"""Text to numbers: BLEU, chrF, ROUGE and BERTScore of an answer against its reference."""
