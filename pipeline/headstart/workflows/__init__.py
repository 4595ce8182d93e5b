"""What the commands do, callable from Python: one function a command, plain arguments, one result.

The command line and `headstart.__init__` call these functions and nothing below them. A workflow
puts rooms together; it computes nothing itself. Importing one loads no library: each imports the
rooms it needs when it runs.
"""
