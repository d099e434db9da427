// EventLoop: the first file of the module.
