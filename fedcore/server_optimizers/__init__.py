"""Server optimizers: how the mean update moves the model; one file each."""
