"""Reading and writing what agents and runs store on disk."""
