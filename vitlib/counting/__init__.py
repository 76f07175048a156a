"""What counting tools report for the network (`tools`), and why (`terms`, `reconcile`, `search`)."""
