// Datasets: the first file of the module.
