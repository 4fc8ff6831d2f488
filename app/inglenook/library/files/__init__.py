"""Model files on this computer: found, brought here, moved, removed and brought back."""
