"""What people look at from a simulated step: tables, figures, a timeline, a page, files."""
