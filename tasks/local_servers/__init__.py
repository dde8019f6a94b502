"""The servers of this machine: where they are, the secret that they demand, and how each is run."""
