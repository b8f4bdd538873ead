"""Energy and area: counted events times cited constants, and static power times time."""
