"""Simulators of identity providers, for plugins that bring one.

A simulator plays its identity provider against any SCIM server and judges the answers. It is made of acts: the same
scenes for each actor, each acted over a line that remembers what was sent and what came.
"""

from gateway.simulation.api import Answer, Play, Session, Simulator, Step
from gateway.simulation.scenario import Act, Actor, Line, PlainLine, Scene, Unmet, expect_equal

__all__ = [
    "Act",
    "Actor",
    "Answer",
    "Line",
    "PlainLine",
    "Play",
    "Scene",
    "Session",
    "Simulator",
    "Step",
    "Unmet",
    "expect_equal",
]
