"""The one kind of trouble that this package can explain in a line."""


class OnDeviceError(Exception):
    """A bundle that cannot be used here; the message is one line that says why and what would help."""
