"""What counting tools report for the network, and why they differ."""
