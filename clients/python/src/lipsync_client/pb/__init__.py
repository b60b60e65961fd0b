"""Stubs made by generate.py from proto/lipsync.proto."""
