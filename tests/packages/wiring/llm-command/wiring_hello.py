import llm


@llm.hookimpl
def register_commands(cli):
    @cli.command()
    def hello():  # logic
        """Print a greeting."""  # logic
        print("hello")  # logic
