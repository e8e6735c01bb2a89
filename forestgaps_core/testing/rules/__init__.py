"""The rules for components: a module for each kind, with one function for each rule.

A rule takes a config, and arguments of `build` that replace stand-ins. It raises an `AssertionError` with a sentence.
"""
