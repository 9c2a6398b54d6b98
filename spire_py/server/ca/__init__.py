"""The certificate authority of the server: its keys, their life, and what it signs."""
