"""The command ``mmvl``; ``tools/*.py`` are thin faces of the same functions."""
