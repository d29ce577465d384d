"""Verifies that the object store has the files of all documents, and undeletes lost ones.

After the database was restored to an earlier moment, documents may refer to objects that have been
deleted since. Keys are never used twice, so whatever the store has under the key of a document is
its file, whether it is an object or a version that a delete marker hides.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.core.db import Session
from app.core.errors import Overloaded
from app.core.storage import ObjectNotFound, Storage
from app.documents.verification._files import DocumentFile, FileProblem, Reason
from app.documents.verification._repository import VerificationRepository
from app.documents.verification._undeleter import FileUndeleter

# How many lists of the store are read for a page of files. One or two are enough, unless there are
# many other objects between theirs. Files that the lists do not contain are looked up
# one by one.
MAX_LISTS_PER_PAGE: Final = 10


@dataclass(frozen=True)
class VerifiedPage:
    """The result for a page of files.

    Args:
        verified_files: The number of files.
        undeleted_files: The number of files that were missing, and are intact after undeleting.
        problems: The files that are missing now, or differ from their rows.
    """

    verified_files: int
    undeleted_files: int
    problems: list[FileProblem]


class FileVerifier:
    """Compares the files of all documents with the objects in the store, in constant memory.

    Documents may be changed at the same time. A file that was replaced or deleted in the meantime
    is not a problem.
    """

    def __init__(
        self,
        autocommit_session: Session,
        storage: Storage,
        undeleter: FileUndeleter | None = None,
        *,
        with_checksums: bool = False,
    ) -> None:
        """Create a verifier. Its session has to commit each statement immediately.

        Args:
            autocommit_session: Executes the statements.
            storage: The bucket with the files.
            undeleter: Undeletes missing files. None to change nothing.
            with_checksums: Also read all files whose SHA-256 is known, and compare it.
        """
        self._repository = VerificationRepository(autocommit_session)
        self._storage = storage
        self._undeleter = undeleter
        self._with_checksums = with_checksums

    async def count_files(self) -> int | None:
        """Return the number of files that `verify` compares, or None if counting takes too long."""
        try:
            return await self._repository.count_files()
        except Overloaded:
            # The whole table is read, which may exceed the statement timeout.
            return None

    async def verify(self) -> AsyncIterator[VerifiedPage]:
        """Verify all files, and yield the result for each page of them."""
        # Read the files page by page, sorted by id. The first page starts after the smallest UUID.
        last_id = UUID(int=0)
        while files := await self._repository.list_files(last_id):
            yield await self._verify_page(files)
            last_id = files[-1].file_id

    async def _verify_page(self, files: list[DocumentFile]) -> VerifiedPage:
        """Verify the files of a page, and undelete those that are missing."""
        reasons_before = await self._find_problems(files)
        reasons = await self._undelete_missing_files(files, reasons_before)
        return VerifiedPage(
            verified_files=len(files),
            undeleted_files=len(reasons_before) - len(reasons),
            problems=await self._describe_problems(files, reasons),
        )

    async def _find_problems(self, files: list[DocumentFile]) -> dict[UUID, Reason]:
        """Return what is wrong with each file, by file id. Files without a problem are left out."""
        if self._with_checksums:
            return await self._look_up(files)
        listed_sizes = await self._list_sizes(files)
        # Look up the other files, because a list may be incomplete.
        suspects = [file for file in files if not file.has_size(listed_sizes.get(file.key))]
        return await self._look_up(suspects)

    async def _list_sizes(self, files: list[DocumentFile]) -> dict[str, int]:
        """Return the sizes of objects by key. Objects that were not listed are left out.

        The files are sorted by id, and so are the keys that have the same prefix. The files of a
        page may have several prefixes, because `S3_PREFIX` can be changed.
        """
        keys_by_prefix: dict[str, list[str]] = {}
        for file in files:
            prefix = file.key.removesuffix(str(file.file_id))
            keys_by_prefix.setdefault(prefix, []).append(file.key)
        sizes: dict[str, int] = {}
        for prefix, keys in keys_by_prefix.items():
            sizes |= await self._list_sizes_between(prefix, keys)
        return sizes

    async def _list_sizes_between(self, prefix: str, keys: list[str]) -> dict[str, int]:
        """Return the sizes of objects from the first key to the last one.

        The keys are sorted and start with the prefix.
        """
        sizes: dict[str, int] = {}
        # A text that is sorted before the first key, and after most of the keys before it.
        after_key = keys[0][:-1]
        for _ in range(MAX_LISTS_PER_PAGE):
            objects, has_more = await self._storage.list_objects(prefix, after_key)
            sizes |= {listed_object.key: listed_object.size for listed_object in objects}
            # A page may be empty although there are more. It has no last key to continue from.
            if not has_more or not objects or objects[-1].key >= keys[-1]:
                break
            after_key = objects[-1].key
        return sizes

    async def _look_up(self, files: Sequence[DocumentFile]) -> dict[UUID, Reason]:
        """Look up each file. Return what is wrong with each file, by file id."""
        reasons = await asyncio.gather(*(self._look_up_file(file) for file in files))
        return {
            file.file_id: reason
            for file, reason in zip(files, reasons, strict=True)
            if reason is not None
        }

    async def _look_up_file(self, file: DocumentFile) -> Reason | None:
        """Return what is wrong with a file, or None."""
        try:
            size = await self._storage.get_size(file.key)
            if not file.has_size(size):
                return "size"
            if self._with_checksums and file.sha256 is not None:
                sha256 = await self._storage.compute_sha256(file.key, size, _do_nothing)
                if sha256 != file.sha256:
                    return "sha256"
        except ObjectNotFound:
            return "missing"
        return None

    async def _undelete_missing_files(
        self, files: list[DocumentFile], reasons: dict[UUID, Reason]
    ) -> dict[UUID, Reason]:
        """Undelete the missing files. Return what is wrong afterwards, by file id."""
        missing_files = [file for file in files if reasons.get(file.file_id) == "missing"]
        if self._undeleter is None or not missing_files:
            return reasons
        obstacles = await self._undeleter.undelete(missing_files)
        undeleted_files = [file for file in missing_files if file.file_id not in obstacles]
        other_reasons = {
            file_id: reason for file_id, reason in reasons.items() if reason != "missing"
        }
        return other_reasons | obstacles | await self._look_up(undeleted_files)

    async def _describe_problems(
        self, files: list[DocumentFile], reasons: dict[UUID, Reason]
    ) -> list[FileProblem]:
        """Return the problems of files, unless their documents have been changed or deleted."""
        if not reasons:
            return []
        used_files = await self._repository.list_used_files(reasons)
        return [
            FileProblem.of_file(file, reasons[file.file_id])
            for file in files
            if file.file_id in reasons and file.file_id in used_files
        ]


async def _do_nothing() -> None:
    """Ignore the progress of reading a file."""
