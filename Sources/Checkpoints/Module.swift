// Checkpoints: the first file of the module.
