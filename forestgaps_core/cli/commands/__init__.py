"""The core's own commands, a module for each group. Nothing heavy is imported until one of them runs."""
