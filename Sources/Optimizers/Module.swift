// Optimizers: the first file of the module.
