"""mmvl: published vision-language methods in one maintained framework on MMEngine."""

__version__ = '0.1.0'
