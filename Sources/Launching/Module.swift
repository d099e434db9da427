// Launching: the first file of the module.
