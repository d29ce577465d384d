"""Errors of users and their logins."""

from app.core.errors import Conflict, ServiceError


class EmailTaken(Conflict):
    """Raised if another user already has the email. Emails are compared ignoring case."""

    detail = "Email already registered"


class LastAdmin(Conflict):
    """Raised if the last admin would be deleted or get another role."""

    # Clients see the general problem type `conflict` instead of `last-admin`.
    type = Conflict.type
    detail = "The last admin can be neither deleted nor demoted"


class TooManyFailedLogins(ServiceError):
    """Raised while an account, a network or a token is blocked after too many wrong passwords.

    `retry_after` is the number of seconds until the next attempt is allowed.
    """

    status = 429
    type = "too-many-requests"
    detail = "Too many wrong passwords; wait before the next attempt"

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__()
        self.retry_after = retry_after


class TooManyRegistrations(ServiceError):
    """Raised while a network is blocked because it has sent too many registrations.

    `retry_after` is the number of seconds until the next registration is allowed.
    """

    status = 429
    type = "too-many-requests"
    detail = "Too many registrations from this network; wait before the next one"

    def __init__(self, retry_after: int = 1) -> None:
        super().__init__()
        self.retry_after = retry_after
