"""How the cost of requests grows with the number of rows, connections, processes and bytes."""
