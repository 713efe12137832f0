"""Settings, options and presets: from what a user asks for to frozen configs."""
