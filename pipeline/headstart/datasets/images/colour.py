"""Colour profiles: ignored unless the user asks for sRGB, except where they are indispensable."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

from headstart.core.errors import ImageError

SRGB = "srgb"
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # by the profile's colour space
_XYB = (b"XYB", "XYB".encode("utf-16-be"))


def manage(image: Image.Image, colour: str) -> Image.Image:
    """Return a loaded image in sRGB if ``colour`` says so, else as it is.

    lcms converts with relative colorimetric intent. A profile that is damaged, or for pixels of
    another kind, is ignored.

    Raises:
        ImageError: without its profile the image would have other colours altogether (XYB).
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    if colour != SRGB:
        if any(name in profile[:4096] for name in _XYB):
            raise ImageError("its colours are XYB, which need their profile; use --colour srgb")
        return image
    try:
        return _converted(image, profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image


def _converted(image: Image.Image, profile: bytes) -> Image.Image:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = _MODES.get(source.profile.xcolor_space.strip(), "")
    alpha = None
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        image = image.convert("L" if image.mode in ("LA", "L") else "RGB")
    grey = image.mode in ("L", "1", "I;16")
    own = "CMYK" if image.mode == "CMYK" else "L" if grey else "RGB"
    if own != mode:
        return image
    plain = image if image.mode == mode else image.convert(mode)
    out = ImageCms.profileToProfile(
        plain,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    assert out is not None
    if alpha is not None:
        out.putalpha(alpha)
    return out
