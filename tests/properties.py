"""What tests that passed have recorded, also where they ran in several processes."""


def recorded(terminalreporter, name):
    """Values of the property `name` that passed tests have, in order."""
    return [
        value
        for report in terminalreporter.getreports("passed")
        if report.when == "call"
        for key, value in report.user_properties
        if key == name
    ]
