"""Tests of the core, in folders named after the packages they test; `system` has those of the whole."""
