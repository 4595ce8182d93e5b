"""Make a backbone of an ONNX file from elsewhere.

`steps` reads files that may be hostile, so `core.sandbox` runs it in a process of its own. It loads
the file (`load`), chooses where to cut it (`cut`), adds the normalisation and the pooling (`wrap`),
and runs the file as it was to compare the result with it (`original`). A `request` says what to
import, and its `recipe` how images are prepared.
"""
