"""Which machine runs which operator of a network."""

from mensa.sched.placement.placement import Placement, PlacementError, all_on, load_placement

__all__ = ["Placement", "PlacementError", "all_on", "load_placement"]
