"""Hostile input of every kind, drawn anew from any seed, against what the lab promises.

    python -m tests.fuzz --cases 3000 --seed 7                      all kinds, and a table of the outcomes
    python -m tests.fuzz --seed 7 --kind archives --only 41         one case again

A file of each kind of input draws cases: `configurations`, `matrices`, `archives`, `flips`, `uploads`, `addresses`.
`hostile` has the values they share, `world` the recorded runs they spoil, `runner` tries a case in a process of its
own, with a limit of time and of memory. tests/test_fuzz.py runs a short form.

It belongs to the tests, not to the benchmarks: it states what holds, and measures nothing.
"""
