"""Make a backbone of an ONNX graph by others: checked, cut, fed, pooled, and compared with itself.

`steps` looks into files that may be hostile, so `core.sandbox` calls it in a process of its own:

- `request`: what is to be made of a file;
- `recipe`: how images are prepared;
- `load`: the file and its external data, nothing outside its folder;
- `cut`: where it ends;
- `wrap`: what is added before and after it, in one version of ONNX's operators;
- `original`: the file as it was, fed by plain numpy code, to which the result is held.
"""
