// Lockstep: the first file of the module.
