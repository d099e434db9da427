// Collectives: the first file of the module.
