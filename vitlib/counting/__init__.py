"""What counting tools report for the network (`counters`, `tools`), and why they differ (`terms`, `reconcile`, `search`)."""
