"""Adds uploads to the application of the tutorial: `UploadFile`, `upload_fileobj`, then the row.

boto3 has its defaults for everything except the endpoint. Its call blocks, so it runs in a thread.
"""

import os
from typing import Annotated, Any
from uuid import UUID, uuid4

import boto3
from fastapi import Form, UploadFile
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Mapped, mapped_column

from benchmarks.tutorial import Base, SessionDep, app

s3 = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"], region_name="us-east-1")


class Document(Base):
    __tablename__ = "documents"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str]
    filename: Mapped[str | None]
    content_type: Mapped[str | None]
    size: Mapped[int | None]


class DocumentRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    filename: str | None
    content_type: str | None
    size: int | None


@app.post("/documents", response_model=DocumentRead, status_code=201)
async def create_document(name: Annotated[str, Form()], file: UploadFile, db: SessionDep) -> Any:
    document = Document(id=uuid4(), name=name, filename=file.filename, size=file.size)
    document.content_type = file.content_type
    key = f"documents/{document.id}"
    await run_in_threadpool(s3.upload_fileobj, file.file, os.environ["S3_BUCKET"], key)
    db.add(document)
    await db.commit()
    await db.refresh(document)
    return document


__all__ = ["app"]
