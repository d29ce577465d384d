"""Errors of users and their logins."""

from app.core.errors import Conflict, TooManyRequests


class EmailTaken(Conflict):
    """Raised if another user already has the email. Emails are compared ignoring case."""

    detail = "Email already registered"


class LastAdmin(Conflict):
    """Raised if the last admin would be deleted or get another role."""

    # Clients see the general problem type `conflict` instead of `last-admin`.
    type = Conflict.type
    detail = "The last admin can be neither deleted nor demoted"


class TooManyFailedLogins(TooManyRequests):
    """Raised while an account, a network or a token is blocked after too many wrong passwords."""

    type = TooManyRequests.type
    detail = "Too many wrong passwords. Retry later."


class TooManyRegistrations(TooManyRequests):
    """Raised while a network is blocked after too many registrations and changes of emails."""

    type = TooManyRequests.type
    detail = "Too many registrations and changes of emails from your network. Retry later."
