"""What a model's probabilities say of an image, by target type.

Each module has ``Answers``, made of a `headstart.models.classifier.Classifier`.
"""
