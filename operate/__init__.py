"""What an operator does, one file a command. Each starts with light imports only: `steward --help` reads them all."""
