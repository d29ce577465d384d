"""Find files of documents that the object store does not have, and undelete them.

Only the command `documents verify` uses this package. Only this package uses the methods of the
object store that read versions of objects and remove delete markers.
"""

from app.documents.verification._files import FileProblem
from app.documents.verification._undeleter import FileUndeleter
from app.documents.verification._verifier import FileVerifier, VerifiedPage

__all__ = ["FileProblem", "FileUndeleter", "FileVerifier", "VerifiedPage"]
