"""The dataset doctor: reads a dataset whole, lists what is wrong with it, writes a cleaned label file."""
