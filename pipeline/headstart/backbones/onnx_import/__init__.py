"""Make a backbone of an ONNX file from elsewhere: check, cut, wrap, and compare with the original.

`steps` looks into files that may be hostile, so `core.sandbox` calls it in a process of its own:

- `request`: what to import, and what the sandbox may use;
- `recipe`: how images are prepared;
- `load`: the file and its external data, nothing outside its folder;
- `cut`: where it ends;
- `wrap`: what is added before and after it, in one version of ONNX's operators;
- `original`: the file as it was, run on plain numpy input, to compare the result with.
"""
