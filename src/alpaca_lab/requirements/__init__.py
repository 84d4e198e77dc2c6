"""requirements.lock: written, and every package in it looked up for known vulnerabilities."""
