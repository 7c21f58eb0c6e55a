"""scim2-models, an independent implementation of RFC 7643 and 7644, and what it is known to do differently.

`resources`, `filters` and `operations` draw examples, `comparison` and `patches` ask both sides, `differences` is the
table of what they answer differently: each entry has a predicate, the sentence of the RFC that decides it, whom that
sentence bears out, and a smallest example.
"""
