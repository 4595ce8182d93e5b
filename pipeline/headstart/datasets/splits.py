"""The names that people give to splits: ``train``, ``Training_Set``, ``seg_test``, ``val2017``.

A name is divided into words, at punctuation, digits and capitals. Words such as ``set``, ``data``
and ``images`` and numbers say nothing. If one word is left, and it means a split, so does the name.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

_MEANINGS = {
    "train": "train training trn trainval",
    "validation": "val valid validation validate dev devel eval evaluation evaluate",
    "test": "test testing tests tst holdout",
}
_SPLIT_OF = {word: split for split, words in _MEANINGS.items() for word in words.split()}

_FILLERS = frozenset(
    "set sets data dataset datasets image images img imgs seg pic pics picture pictures photo "
    "photos folder folders file files split splits sample samples".split()
)
_COUNTED = _FILLERS | {"part", "parts", "fold", "folds", "batch", "batches", "chunk", "shard"}
_MASKS = frozenset("mask masks label labels annotation annotations groundtruth gt".split())
_UNLABELLED = frozenset(
    "pred preds predict prediction predictions unlabelled unlabeled inference submission".split()
)
_HELD_OUT = re.compile(r"(?:hold|held)[\W_]?out", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+(?![^\W\d_A-Z])|[^\W\d_]")


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case, without numbers.

    >>> words_of("TrainingSet_2"), words_of("imgs_val"), words_of("hold-out")
    (('training', 'set'), ('imgs', 'val'), ('holdout',))
    """
    return tuple(word.casefold() for word in _WORD.findall(_HELD_OUT.sub("holdout", name)))


@lru_cache(maxsize=4096)
def split_of(name: str) -> str:
    """Return the split that a name means: ``train``, ``validation`` or ``test``; else nothing.

    >>> [split_of(name) for name in ("seg_train", "testset", " Validate ", "eval", "test tubes")]
    ['train', 'test', 'validation', 'validation', '']
    """
    rest = [word for word in words_of(name) if word not in _FILLERS]
    meanings = [_meaning(word) for word in rest]
    if meanings == ["train", "validation"]:  # PASCAL VOC's trainval
        return "train"
    return meanings[0] if len(meanings) == 1 else ""


def mentioned(name: str) -> str:
    """Return the split that one word of a name means, whatever the others say.

    >>> mentioned("cats_train"), mentioned("cats")
    ('train', '')
    """
    meanings = {meaning for word in words_of(name) if (meaning := _meaning(word))}
    return meanings.pop() if len(meanings) == 1 else ""


def of_siblings(names: Collection[str]) -> dict[str, str]:
    """Return the split of each name that means one, alone or by what sets it apart from the others.

    >>> of_siblings(["flowers_train", "flowers_test"])
    {'flowers_train': 'train', 'flowers_test': 'test'}
    """
    splits = {name: split for name in names if (split := split_of(name))}
    if len(splits) < len(names) and all(map(mentioned, names)):
        rests = {
            tuple(word for word in words_of(name) if not _meaning(word) and word not in _FILLERS)
            for name in names
        }
        if len(rests) == 1 and len(set(map(mentioned, names))) > 1:
            return {name: mentioned(name) for name in names}
    return splits


def is_filler(name: str) -> bool:
    """Tell whether a name, such as ``images`` or ``data``, only says that there are images.

    >>> is_filler("My_Images"), is_filler("images2"), is_filler("7")
    (False, True, False)
    """
    words = words_of(name)
    return bool(words) and _FILLERS.issuperset(words)


def is_part(name: str) -> bool:
    """Tell whether a name means a part of a set: ``fold1``, ``batch-2``, ``masks``."""
    words = words_of(name)
    return bool(words) and (_COUNTED | _MASKS).issuperset(words)


def is_mask(name: str) -> bool:
    """Tell whether a name means masks or other annotations of images: ``masks``, ``gt``."""
    words = words_of(name)
    return bool(words) and words[-1] in _MASKS and _MASKS.union(_FILLERS).issuperset(words)


def is_unlabelled(name: str) -> bool:
    """Tell whether a name means images that are to be predicted: ``seg_pred``, ``unlabeled``."""
    words = set(words_of(name)) - _FILLERS
    return bool(words) and words <= _UNLABELLED


def _meaning(word: str) -> str:
    """Return the split that a word means, also if it is written together: ``trainset``."""
    if word in _SPLIT_OF:
        return _SPLIT_OF[word]
    for filler in _FILLERS:
        rest = word.removesuffix(filler) if word.endswith(filler) else word.removeprefix(filler)
        if rest != word and rest in _SPLIT_OF:
            return _SPLIT_OF[rest]
    return ""
