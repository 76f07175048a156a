"""Check a homework's claims: its results (`results`), its counts by tools and by hand (`counts`), all (`report`)."""
