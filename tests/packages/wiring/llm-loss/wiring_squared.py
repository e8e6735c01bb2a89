import llm


class Squared(llm.Model):  # logic
    model_id = "squared"

    class Options(llm.Options):
        weight: float = 2.0

    def execute(self, prompt, stream, response, conversation):  # logic
        return [str(prompt.options.weight * float(prompt.prompt) ** 2)]  # logic


@llm.hookimpl
def register_models(register):
    register(Squared())
