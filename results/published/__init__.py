"""The papers' own figures, one CSV per table (README.md says from where)."""
