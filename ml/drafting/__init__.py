"""Draft a contract from a sample of the data: what is proposed, from which evidence, and how doubtful it is."""
