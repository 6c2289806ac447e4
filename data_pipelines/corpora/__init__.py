"""One module per public dataset, the registry of their names, and the tables they share."""
