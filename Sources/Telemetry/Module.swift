// Telemetry: the first file of the module.
