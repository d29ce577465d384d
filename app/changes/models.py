"""The tables of the change feed."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.db import Base


class Change(Base):
    """One change of a row of an entity. Rows are only added, and deleted when they are old.

    - `xid` is the number of the transaction that made the change. `sequence` orders the changes of
      a transaction.
    - `entity` is the table of the changed row, `entity_id` its id as text.
    - `version` is the version of the row after the change. A deletion counts as a change, too, so
      it has a higher version than the row had.
    - `kind` is `created`, `updated` or `deleted`.
    - `owner_id` is the user who owns the row, or NULL if the table has no owners.
    - `time` is the start of the transaction, as in the column `updated_at` of the row.

    Rules in the database:

    - Triggers `record_inserted`, `record_updated` and `record_deleted` of each entity add the rows
      in the transaction of the change (`migrations/change_feed.py`).
    - The primary key is the only index, because every write of an entity adds an entry to it.
    """

    __tablename__ = "changes"

    xid: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    sequence: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(always=True), primary_key=True)
    entity: Mapped[str] = mapped_column(sa.String(63))
    entity_id: Mapped[str] = mapped_column(sa.String(36))
    version: Mapped[int]
    kind: Mapped[str] = mapped_column(sa.String(7))
    owner_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    time: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class ChangeFeed(Base):
    """The state of the change feed. The table has one row.

    - `epoch` is the secret key of the cursors. A new epoch makes all of them invalid.
    - `home` identifies the database to which the numbers of transactions belong.
    - `is_recording` is false while the triggers are disabled (CHANGE_FEED=false).
    - `first_xid` is the first transaction whose changes have not been deleted.

    Rules in the database:

    - `ck_change_feed_id`: the id is true, so that there cannot be a second row.
    - The function `change_feed_home` returns the value of `home` that this database should have. It
      differs after a dump was restored in another cluster or database.
    """

    __tablename__ = "change_feed"
    __table_args__ = (sa.CheckConstraint("id", name="id"),)

    id: Mapped[bool] = mapped_column(primary_key=True, server_default=sa.true())
    epoch: Mapped[UUID] = mapped_column(server_default=sa.func.gen_random_uuid())
    home: Mapped[str] = mapped_column(sa.Text, server_default=sa.text("change_feed_home()"))
    is_recording: Mapped[bool] = mapped_column(server_default=sa.true())
    first_xid: Mapped[int] = mapped_column(sa.BigInteger, server_default=sa.text("0"))
