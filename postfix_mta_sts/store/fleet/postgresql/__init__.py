"""The engine of a shared store on PostgreSQL."""
