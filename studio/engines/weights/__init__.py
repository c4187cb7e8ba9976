"""Weights on their way: from files to host slabs, from there to the device in bulk, as a whole or unit by unit.

- `layout`: which tensor of a module comes from where, and where it lies in the component's one piece of memory
- `slab`: host memory of exact size, registered with CUDA
- `reading`: from files into memory, mapped or read
- `carrier`: copies from host to device
- `streaming`: units that come and go while the module runs
- `module_weights`: all that as a `studio.models.weights.Weights`
"""
