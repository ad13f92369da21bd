"""The one exception that a user is meant to read."""


class UserError(ValueError):
    """Something in the user's hands is wrong; the message is one line: what, where, and what to do."""

    def __init__(self, message: object):
        super().__init__("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(message)))
