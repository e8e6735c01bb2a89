from lightning.pytorch.callbacks import Callback


class Counter(Callback):  # logic
    """Prints the number of each epoch."""  # logic

    def on_train_epoch_end(self, trainer, pl_module):  # logic
        print("epoch", trainer.current_epoch)  # logic


def make_callbacks():
    return [Counter()]
