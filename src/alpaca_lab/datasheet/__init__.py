"""What is in the data, for reading: the written report, and what notebooks/01_data.ipynb shows."""
