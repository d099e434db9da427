// Wire: the first file of the module.
