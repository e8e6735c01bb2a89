from spacy.language import Language


@Language.factory("squared", default_config={"weight": 2.0})
class Squared:  # logic
    def __init__(self, nlp, name, weight: float):  # logic
        self.weight = weight  # logic

    def __call__(self, doc):  # logic
        doc.user_data["squared"] = self.weight * len(doc) ** 2  # logic
        return doc  # logic
