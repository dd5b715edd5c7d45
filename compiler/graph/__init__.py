"""The typed dataflow level: types, the op table, the graph and its passes."""
