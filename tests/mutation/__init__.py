"""`make mutation`: the code of seats, policy and tenancy with one fault at a time, which some test has to notice.

`mutants` makes the faults, `targets` says where and which tests are run, `__main__` runs them. `docs/mutation.md` has
the results.
"""
