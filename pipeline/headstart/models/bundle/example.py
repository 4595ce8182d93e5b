"""The program that comes with a model: it predicts with onnxruntime, numpy and Pillow alone.

It carries the modules that decode images as they are here, so that its pixels cannot differ.
"""

from __future__ import annotations

from importlib.resources import files

_IMAGES = (  # modules of datasets/images, each after those that it imports
    *(
        "depth",
        "content",
        "header",
        "holes",
        "jpeg",
        "png",
        "bmp",
        "tiff_directory",
        "tiff_samples",
        "tiff",
    ),
    *("heif", "opening", "colour", "geometry", "dct_scaling", "fixed_point", "pixels"),
)
_START = """\
if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names that the terminal cannot show
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # as with | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
"""


def example(takes_features: bool = False) -> str:
    """Return the program's text, for a model of images or of features."""
    here = files("headstart.models.bundle")
    if takes_features:
        return here.joinpath("feature_example.txt").read_text(encoding="utf-8") + _START
    parts = [here.joinpath("example.txt").read_text(encoding="utf-8")]
    for name, source in _modules():
        if "'''" in source:
            raise AssertionError(f"{name} cannot be quoted")
        parts.append(f"MODULES[{name!r}] = r'''{source.strip()}\n'''\n")
    parts.append(_START)
    return "\n\n".join(parts)


def _modules() -> list[tuple[str, str]]:
    core, images = files("headstart.core"), files("headstart.datasets.images")
    errors = core.joinpath("errors.py").read_text(encoding="utf-8")
    preprocess = core.joinpath("preprocess.py").read_text(encoding="utf-8")
    return [
        ("headstart.core.errors", errors),
        ("headstart.core.preprocess", preprocess),
        *(
            (
                f"headstart.datasets.images.{name}",
                images.joinpath(f"{name}.py").read_text(encoding="utf-8"),
            )
            for name in _IMAGES
        ),
    ]
