"""Parts of report pages: templates, charts, pictures, words."""
