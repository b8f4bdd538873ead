"""The operators, a file for each family: plans, shapes, planners and kernels."""
