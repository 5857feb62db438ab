"""Files of strangers, read as data: pickles, HDF5 and MAT. Nothing in them is run, and all is bounded. Imports nothing but ``errors``."""
