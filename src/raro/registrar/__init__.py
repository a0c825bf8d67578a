"""What people do with registered models: audit, promote, roll back, export, serve, chat, reproduce, clean up."""
