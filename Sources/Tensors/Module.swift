// Tensors: the first file of the module.
