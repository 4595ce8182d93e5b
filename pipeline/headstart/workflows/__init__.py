"""What the commands do, callable from Python: one function a command, plain arguments, one result.

The command line and `headstart.__init__` call these functions and nothing below them. A workflow
combines packages and computes nothing itself. It imports the packages that it needs when it runs.
"""
