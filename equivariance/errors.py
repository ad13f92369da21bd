"""The one exception that a user is meant to read, and what others say in one line."""


class UserError(ValueError):
    """Something in the user's hands is wrong; the message is one line: what, where, and what to do."""

    def __init__(self, message: object):
        super().__init__("".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(message)))


def reason(error: BaseException) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()
