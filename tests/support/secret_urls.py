"""Database URLs with a password that must not appear in any output."""

from typing import Final

# A part of every password below.
CANARY: Final = "canary"
# Programs disagree about the parts of these URLs, so that a part of the password could be taken for
# the host or the name of the database, which messages contain.
AMBIGUOUS_URLS: Final = (
    f"postgresql://ada:pass@{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass@{CANARY}@word@127.0.0.1:1/books",
    f"postgresql://ada:pass@{CANARY}/word@127.0.0.1:1/books",
    f"postgresql://ada:pass@word/{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass@{CANARY}?word@127.0.0.1:1/books",
    f"postgresql://ada:pass@{CANARY}?host=word@127.0.0.1:1/books",
    f"postgresql://ada:pass@{CANARY}#word@127.0.0.1:1/books",
    f"postgresql://ada:pass@word:{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass@[{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass/{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass?{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass#{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass%{CANARY[1:]}%{CANARY}%@127.0.0.1:1/books",
    f"postgresql://ada:pass {CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass\n{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:pass[{CANARY}]@127.0.0.1:1/books",
    f"postgresql://a/da:{CANARY}@127.0.0.1:1/books",
    f"postgresql://a?da:{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada@example.com:{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada:{CANARY}",
    f"postgresql://ada:{CANARY}/books",
    # Checking a long password must not take exponential time.
    f"postgresql://ada:{CANARY * 10}#@127.0.0.1:1/books",
    f"postgresql:///ada:{CANARY}@127.0.0.1:1/books",
    f"postgresql:/ada:{CANARY}@127.0.0.1:1/books",
    f"postgresql://ada@127.0.0.1:1/books?host=ada:{CANARY}@127.0.0.1",
    f"postgresql://ada@127.0.0.1:1/books#{CANARY}",
    f"postgresql://ada@127.0.0.1:1/books\n{CANARY}",
    f"mysql://ada:{CANARY}@127.0.0.1:1/books",
    f"ada:{CANARY}@127.0.0.1:1/books",
)
# A valid URL of a server that refuses connections. The password is "p@canary/".
UNREACHABLE_URL: Final = f"postgresql://ada:p%40{CANARY}%2F@127.0.0.1:1/books"
