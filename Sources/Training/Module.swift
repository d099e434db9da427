// Training: the first file of the module.
