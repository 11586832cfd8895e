"""The ground floor: values only. What every room may know, and nothing that does I/O, logs or reads a clock."""
