"""All entries and agents in memory, kept current by following the events tables."""
