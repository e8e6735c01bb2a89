from forestgaps_core import hookimpl


class Counter:  # logic
    """Prints the number of each epoch."""  # logic

    @hookimpl
    def epoch_end(self, trainer):  # logic
        print("epoch", trainer.epoch)  # logic


forestgaps_callbacks = {"counter": Counter}
