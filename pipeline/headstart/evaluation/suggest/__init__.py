"""Which unlabelled images to label next.

`stage` puts it together: `clusters` and `strategies` choose, `model` guesses and measures the
learning curve, and `forecast` says what more labels would bring and when to stop.
"""

from headstart.evaluation.suggest.model import Guesser
from headstart.evaluation.suggest.stage import Selection, select

__all__ = ["Guesser", "Selection", "select"]
