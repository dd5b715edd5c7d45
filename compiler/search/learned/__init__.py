"""The learned cost model: what it sees of a scheduled nest, the network, its training and its figures, and its place in the search."""
