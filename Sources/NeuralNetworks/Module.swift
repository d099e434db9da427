// NeuralNetworks: the first file of the module.
