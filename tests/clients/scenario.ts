// The scenario that every client in TypeScript runs. `scenario.py` is the same scenario in Python.
//
// An adapter in `adapters` has the methods of `Service`. Each of them calls the generated client and
// returns what it returns, so that the compiler compares the generated types with the ones here.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";

export interface Problem {
  type: string;
  status: number;
  detail: string;
  errors?: FieldError[] | undefined;
}
interface FieldError {
  pointer?: string | undefined;
  code: string;
}
interface Author {
  id: string;
  name: string;
  dob: string | null;
  version: string;
}
interface Book {
  id: string;
  title: string;
  version: string;
}
interface BookPage {
  items: Book[];
  total: number | null;
  next: string | null;
}
interface Changes {
  items: { id: string; kind: "created" | "updated" | "deleted" }[];
  next: string;
}
interface Document {
  id: string;
  filename: string | null;
  content_type: string | null;
  size: number | null;
  sha256: string | null;
  file_url: string | null;
}

/** The response of an operation: either its data or a problem. */
export interface Result<T> {
  data?: T | null | undefined;
  error?: Problem | null | undefined;
}

/** A client. Without a token, it may read books and authors, register and log in. */
export interface Service {
  createToken(username: string, password: string): Promise<Result<{ access_token: string }>>;
  createUser(user: { name: string; email: string; password: string }): Promise<Result<{ email: string }>>;
  readCurrentUser(): Promise<Result<{ email: string }>>;
  createAuthor(author: { name: string; dob: string | null }, idempotencyKey: string): Promise<Result<Author>>;
  clearDateOfBirth(id: string, ifMatch: string): Promise<Result<Author>>;
  deleteAuthor(id: string): Promise<Result<unknown>>;
  createBook(book: { title: string; author_id: string }): Promise<Result<Book>>;
  /** Return a page of two books with the word "book", sorted by title, descending, and age. */
  listBooks(authorId: string, ids: string[], cursor: string | undefined): Promise<Result<BookPage>>;
  exportBooks(authorId: string): Promise<Result<string>>;
  deleteBook(id: string): Promise<Result<unknown>>;
  deleteBooks(ids: string[]): Promise<Result<{ deleted: number }>>;
  listChanges(after: string, wait: number): Promise<Result<Changes>>;
  createDocument(name: string, file: File): Promise<Result<Document>>;
  readDocument(id: string): Promise<Result<Document>>;
  deleteDocument(id: string): Promise<Result<unknown>>;
}

type Connect<S> = (origin: string, token?: string) => S;

type HasAny<T> = 0 extends 1 & T
  ? true
  : T extends readonly (infer Item)[]
    ? HasAny<Item>
    : T extends object
      ? true extends { [Key in keyof T]-?: HasAny<T[Key]> }[keyof T]
        ? true
        : false
      : false;
type Responses<S> = { [Key in keyof S]: S[Key] extends (...values: never[]) => Promise<infer R> ? R : never }[keyof S];
type Member<R, Key> = R extends unknown ? (Key extends keyof R ? NonNullable<R[Key]> : never) : never;
/** An argument that nobody passes, so that a client whose responses have the type `any` fails. */
type NoAny<S> = true extends HasAny<Member<Responses<S>, "data"> | Member<Responses<S>, "error">>
  ? ["A response of this client has the type any"]
  : [];

const urn = "urn:problem-type:bookshelf:";

/** Return the data of a response, which must not be a problem. */
async function expectSuccess<T>(promise: Promise<Result<T>>): Promise<T> {
  const { data, error } = await promise;
  assert.ok(!error, JSON.stringify(error));
  return data as T;
}

/** Check that a response is a problem of a type, for example "not-found". Return the problem. */
async function expectProblem(promise: Promise<Result<unknown>>, status: number, type: string): Promise<Problem> {
  const { error } = await promise;
  assert.ok(error);
  assert.deepEqual([error.status, error.type], [status, urn + type]);
  assert.ok(error.detail);
  return error;
}

/** Register a user, who may read their own data, but may not create an author. */
async function registerMember(connect: Connect<Service>, origin: string): Promise<void> {
  const user = { name: "Ada", email: `${randomUUID()}@example.com`, password: "correct horse" };
  const anonymous = connect(origin);
  assert.equal((await expectSuccess(anonymous.createUser(user))).email, user.email);
  await expectProblem(anonymous.createUser(user), 409, "email-taken");
  await expectProblem(anonymous.createToken(user.email, "wrong password"), 401, "unauthorized");
  const token = await expectSuccess(anonymous.createToken(user.email, user.password));
  const member = connect(origin, token.access_token);
  assert.equal((await expectSuccess(member.readCurrentUser())).email, user.email);
  await expectProblem(member.createAuthor({ name: "Ada", dob: null }, randomUUID()), 403, "forbidden");
}

/** Create an author with an idempotency key, and update it with an entity tag. */
async function createAndUpdateAuthor(service: Service): Promise<Author> {
  const data = { name: "Octavia E. Butler", dob: "1947-06-22" };
  const key = randomUUID();
  const author = await expectSuccess(service.createAuthor(data, key));
  assert.deepEqual([author.name, author.dob], [data.name, data.dob]);
  assert.equal((await expectSuccess(service.createAuthor(data, key))).id, author.id);
  await expectProblem(service.createAuthor({ ...data, name: "Ada" }, key), 422, "idempotency-key-reused");
  const etag = `"${author.version}"`;
  assert.equal((await expectSuccess(service.clearDateOfBirth(author.id, etag))).dob, null);
  await expectProblem(service.clearDateOfBirth(author.id, etag), 412, "precondition-failed");
  return author;
}

/** Create five books, and read all of them, and then three of them, in pages of two. */
async function createAndListBooks(service: Service, author: Author): Promise<Book[]> {
  const titles = [..."01234"].map((number) => `Book ${number}`);
  const books: Book[] = [];
  for (const title of titles) {
    books.push(await expectSuccess(service.createBook({ title, author_id: author.id })));
  }
  const ids = books.map((book) => book.id);
  for (const selectedIds of [ids, ids.slice(1, 4)]) {
    let page = await expectSuccess(service.listBooks(author.id, selectedIds, undefined));
    assert.equal(page.total, selectedIds.length);
    const listed = [...page.items];
    while (page.next !== null) {
      page = await expectSuccess(service.listBooks(author.id, selectedIds, page.next));
      listed.push(...page.items);
    }
    assert.deepEqual(listed.map((book) => book.id), selectedIds.toReversed());
  }
  const lines = (await expectSuccess(service.exportBooks(author.id))).trim().split("\r\n");
  assert.equal(lines.length, 1 + titles.length);
  return books;
}

/** Check that the response to a book without a title or author names the fields. */
async function createInvalidBook(service: Service): Promise<void> {
  const invalid = await expectProblem(
    service.createBook({ title: "", author_id: randomUUID() }), 422, "invalid-request");
  assert.deepEqual([invalid.errors?.[0]?.pointer, invalid.errors?.[0]?.code], ["/title", "string_too_short"]);
  const unknown = await expectProblem(
    service.createBook({ title: "A", author_id: randomUUID() }), 422, "invalid-request");
  assert.deepEqual(unknown.errors?.map((error) => error.pointer), ["/author_id"]);
}

/** Create a document with a file, download the file, and delete the document. */
async function uploadAndDownloadFile(service: Service): Promise<void> {
  const content = Buffer.from("Cien años".repeat(100_000));
  const file = new File([content], "Cien años.txt", { type: "text/plain" });
  const { id } = await expectSuccess(service.createDocument("A novel", file));
  const document = await expectSuccess(service.readDocument(id));
  assert.deepEqual([document.filename, document.content_type], [file.name, file.type]);
  const sha256 = createHash("sha256").update(content).digest("hex");
  assert.deepEqual([document.size, document.sha256], [content.length, sha256]);
  assert.ok(document.file_url);
  const download = await (await fetch(document.file_url)).arrayBuffer();
  assert.ok(content.equals(Buffer.from(download)));
  await expectSuccess(service.deleteDocument(id));
  await expectProblem(service.readDocument(id), 404, "not-found");
}

/** Delete one book and then all others, and check that the change feed lists the deletions. */
async function deleteBooksAndReadChanges(service: Service, books: Book[]): Promise<void> {
  const [first = "", ...others] = books.map((book) => book.id);
  let end = (await expectSuccess(service.listChanges("now", 0))).next;
  await expectSuccess(service.deleteBook(first));
  const unknown = await expectProblem(service.deleteBooks([first, ...others]), 422, "invalid-request");
  assert.equal(unknown.errors?.[0]?.pointer, "/ids/0");
  assert.equal((await expectSuccess(service.deleteBooks(others))).deleted, others.length);
  const deletions: string[] = [];
  while (deletions.length < books.length) {
    const changes = await expectSuccess(service.listChanges(end, 10));
    assert.ok(changes.items.length > 0);
    deletions.push(...changes.items.map(({ id, kind }) => `${id} ${kind}`));
    end = changes.next;
  }
  assert.deepEqual(deletions.sort(), [first, ...others].map((id) => `${id} deleted`).sort());
}

/**
 * Use the service as a new user and as an administrator.
 *
 * The arguments of the command line are the service's origin, and the email address and password of
 * an administrator.
 */
export async function runScenario<S extends Service>(connect: Connect<S>, ..._noAny: NoAny<S>): Promise<void> {
  const [origin = "", email = "", password = ""] = process.argv.slice(2);
  await registerMember(connect, origin);
  const { access_token } = await expectSuccess(connect(origin).createToken(email, password));
  const admin = connect(origin, access_token);
  const author = await createAndUpdateAuthor(admin);
  const books = await createAndListBooks(admin, author);
  await createInvalidBook(admin);
  await uploadAndDownloadFile(admin);
  await expectProblem(admin.deleteAuthor(author.id), 409, "author-has-books");
  await deleteBooksAndReadChanges(admin, books);
  await expectSuccess(admin.deleteAuthor(author.id));
}
