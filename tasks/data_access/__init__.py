"""Where data comes from: paths, several files, databases, tables in memory, downloads, samples for drafts."""
