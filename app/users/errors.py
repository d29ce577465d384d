"""Errors of users and their logins."""

from app.core.errors import Conflict, ServiceError


class EmailTaken(Conflict):
    """Raised when another user already has the email. Emails are compared ignoring case."""

    detail = "Email already registered"


class LastAdmin(Conflict):
    """Raised when the deletion or demotion of a user would leave no admin."""

    type = Conflict.type
    detail = "The last admin can be neither deleted nor demoted"


class TooManyFailedLogins(ServiceError):
    """Raised while an account or a client's address is blocked after too many wrong passwords."""

    status = 429
    type = "too-many-requests"
    detail = "Too many wrong passwords; wait before the next attempt"

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__()
        self.retry_after = retry_after  # seconds
