"""Rules of a contract, evaluated on a table: built-in checks, Great Expectations, what quarantine leaves out."""
