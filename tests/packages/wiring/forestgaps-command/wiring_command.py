from forestgaps_core import Command


def hello():  # logic
    """Print a greeting."""  # logic
    print("hello")  # logic


forestgaps_commands = {"hello": Command("wiring_command:hello", "Print a greeting.")}
