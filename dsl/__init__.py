"""What the user writes: grammar, syntax tree, checking, lowering, the command line."""
