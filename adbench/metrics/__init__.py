"""Quality from streamed counts; nothing here knows torch."""
