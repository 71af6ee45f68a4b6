"""HOW the stages work. No file below here knows a path, a section of params or a scheduler."""
