"""`make fuzz`: the parsers and the reader of JSON under coverage-guided fuzzing.

`targets` says what is tried and what must hold, `words` what the fuzzer starts from, `child` is the process of one
target, `__main__` runs them all. `docs/fuzzing.md` has the rule and the results.
"""
