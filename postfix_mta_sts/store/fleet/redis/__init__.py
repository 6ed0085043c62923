"""The engine of a shared store on Valkey or Redis."""
