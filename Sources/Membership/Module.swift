// Membership: the first file of the module.
