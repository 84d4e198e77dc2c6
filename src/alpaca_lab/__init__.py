"""Alpaca Lab: finetune three models on Alpaca, sweep how they decode, and read tables that are true."""
