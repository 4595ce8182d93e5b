"""Make a backbone of an ONNX graph by others: checked, cut, fed, pooled, and compared with itself.

`sewing` looks into files that may be hostile, so `pipeline.trial` calls it in a process of its own:

- `order`: what is to be made of a file;
- `recipe`: how images are prepared;
- `reading`: the file and its external data, nothing outside its folder;
- `cutting`: where it ends;
- `surgery`: what is sewn on, in one version of ONNX's operators;
- `original`: the file as it was, fed by plain numpy code, to which the result is held.
"""
