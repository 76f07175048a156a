"""What counting tools report for the network (`counters`, `tools`), and why (`terms`, `reconcile`, `search`)."""
