# Engines in one, two and four processes, joined by pipes, no MPI.
