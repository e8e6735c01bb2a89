"""What people read: tables, progress, counts, colors, command lines."""
