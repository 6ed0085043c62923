"""What administrators of one relay see of the others: by the shared store, asked at that moment."""
