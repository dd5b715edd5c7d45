"""What stands around a layer while it is trained: the loop over epochs, checkpoints, plots."""
