"""Finetune three models on Alpaca, sweep how they decode, and read tables that are true."""
