"""Images become rows on disk: embedding, the feature store, and tables for other tools."""
