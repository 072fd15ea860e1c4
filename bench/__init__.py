"""The benchmark suite: every published number comes from here, checked before it is timed.

- ``contest.py``: providers of one result, verified, then timed in alternating rounds
- ``machine.py``: what the numbers were measured on
- ``results.py``: rows of JSON under ``results/<device>/``
- ``shapes.py``: the only shapes that are measured, each with the model it comes from
- ``suites/``: one file a suite; a case is a few lines in it
"""
