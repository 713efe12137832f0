"""What a user chooses: options, presets, and settings made into validated configs."""
