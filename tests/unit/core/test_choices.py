"""The values of options say what the code behind them does."""

from headstart import backbones
from headstart.backbones.inference import runner
from headstart.backbones.onnx_import import recipe
from headstart.core import choices


def test_choices_are_those_of_the_code_behind_them():
    assert choices.BACKBONE == backbones.DEFAULT
    assert set(choices.PRESETS) == set(recipe.PRESETS)
    assert set(choices.DEVICES) == set(runner._PROVIDERS)
