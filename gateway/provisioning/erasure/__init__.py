"""What is stored of one person: its export, and its erasure from every table."""
