"""The one exception that a user is meant to read."""


class UserError(ValueError):
    """Something in the user's hands is wrong; the message is one line: what, where, and what to do."""
