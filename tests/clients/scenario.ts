// What a TypeScript program does with the types that openapi-typescript makes of the document.
// `node scenario.js ORIGIN EMAIL PASSWORD`, the latter two of an admin. Fails when anything differs.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./generated/schema.js";

type Author = components["schemas"]["AuthorRead"];
type Book = components["schemas"]["BookRead"];
type Problem = components["schemas"]["Problem"];
// Not the lists as lines: those are texts.
type Json = "application/json" | "application/problem+json";
type Service = Client<paths, Json>;

interface Answer<T> {
  data?: T;
  error?: Problem | undefined;
  response: Response;
}

const [origin = "", email = "", password = ""] = process.argv.slice(2);

function serviceFor(token?: string): Service {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  return createClient<paths, Json>({
    baseUrl: origin,
    headers,
    querySerializer: { array: { style: "form", explode: false } },
  });
}

function got<T>({ data, error, response }: Answer<T>, status: number): T {
  assert.equal(response.status, status, JSON.stringify(error));
  assert(data !== undefined);
  return data;
}

function refused({ error, response }: Answer<unknown>, status: number, kind: string): Problem {
  assert.equal(response.status, status);
  assert(error !== undefined);
  assert.equal(error.type, `urn:problem-type:bookshelf:${kind}`);
  return error;
}

function etagOf({ response }: Answer<unknown>): string {
  const etag = response.headers.get("ETag");
  assert(etag !== null);
  return etag;
}

async function loggedIn(username: string, secret: string): Promise<Service> {
  const answer = await serviceFor().POST("/tokens", {
    body: { username, password: secret },
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  });
  return serviceFor(got(answer, 201).access_token);
}

async function registerAndBeRefused(): Promise<void> {
  const body = { name: "Ada", email: `${randomUUID()}@example.com`, password: "correct horse" };
  const user = got(await serviceFor().POST("/users", { body }), 201);
  assert.equal(user.role, "member");
  const again = refused(await serviceFor().POST("/users", { body }), 409, "email-taken");
  assert.equal(again.detail, "Email already registered");
  const member = await loggedIn(body.email, body.password);
  assert.deepEqual(got(await member.GET("/users/me"), 200), user);
  refused(await member.POST("/authors", { body: { name: "Ursula" } }), 403, "forbidden");
  assert.equal((await member.DELETE("/tokens/current")).response.status, 204);
  refused(await member.GET("/users/me"), 401, "unauthorized");
}

async function writeAnAuthor(service: Service): Promise<Author> {
  const header = { "Idempotency-Key": randomUUID() };
  const body = { name: "Octavia E. Butler", dob: "1947-06-22" };
  const first = await service.POST("/authors", { params: { header }, body });
  const again = await service.POST("/authors", { params: { header }, body });
  const author = got(first, 201);
  assert.deepEqual(got(again, 201), author);
  assert.equal(again.response.headers.get("Idempotency-Replayed"), "true");
  const other = { params: { header }, body: { name: "Ursula" } };
  refused(await service.POST("/authors", other), 422, "idempotency-key-reused");

  const path = { id: author.id };
  const change = {
    params: { path, header: { "If-Match": etagOf(first) } },
    body: { dob: null },
  };
  const changed = await service.PATCH("/authors/{id}", change);
  assert.equal(got(changed, 200).dob, null);
  refused(await service.PATCH("/authors/{id}", change), 412, "precondition-failed");
  const known = { path, header: { "If-None-Match": etagOf(changed) } };
  const held = await service.GET("/authors/{id}", { params: known });
  assert.equal(held.response.status, 304);
  return author;
}

async function listBooksByCursor(service: Service, author: Author): Promise<Book[]> {
  const titles = [..."01234"].map((number) => `Book ${number}`);
  for (const title of titles) {
    got(await service.POST("/books", { body: { title, author_id: author.id } }), 201);
  }
  const query = { author_id: author.id, size: 2, sort: ["-title" as const] };
  let page = got(await service.GET("/books", { params: { query } }), 200);
  assert.deepEqual([page.total, page.pages, page.page], [5, 3, 1]);
  const books = page.items;
  while (page.next !== null) {
    const cursor = page.next;
    page = got(await service.GET("/books", { params: { query: { ...query, cursor } } }), 200);
    books.push(...page.items);
  }
  assert.deepEqual(books.map((book) => book.title), titles.reverse());
  return books;
}

async function beToldWhatIsWrong(service: Service): Promise<void> {
  const body = { title: "", author_id: randomUUID() };
  const { errors } = refused(await service.POST("/books", { body }), 422, "invalid-request");
  assert.equal(errors?.[0]?.pointer, "/title");
}

async function uploadAFile(service: Service): Promise<void> {
  const content = Buffer.from("Cien años".repeat(100_000));
  const { id } = got(
    await service.POST("/documents", {
      body: { name: "A novel" },
      bodySerializer({ name }) {
        const form = new FormData();
        form.set("name", name);
        form.set("file", new File([content], "Cien años.txt", { type: "text/plain" }));
        return form;
      },
    }),
    201,
  );
  const path = { id };
  const found = got(await service.GET("/documents/{id}", { params: { path } }), 200);
  assert.deepEqual([found.filename, found.content_type], ["Cien años.txt", "text/plain"]);
  assert.equal(found.size, content.length);
  assert.equal(found.sha256, createHash("sha256").update(content).digest("hex"));
  assert(found.file_url !== null);
  const bytes = await (await fetch(found.file_url)).arrayBuffer();
  assert(content.equals(Buffer.from(bytes)));
  const gone = await service.DELETE("/documents/{id}", { params: { path } });
  assert.equal(gone.response.status, 204);
  refused(await service.GET("/documents/{id}", { params: { path } }), 404, "not-found");
}

await registerAndBeRefused();
const admin = await loggedIn(email, password);
const author = await writeAnAuthor(admin);
const books = await listBooksByCursor(admin, author);
await beToldWhatIsWrong(admin);
await uploadAFile(admin);
const params = { path: { id: author.id } };
refused(await admin.DELETE("/authors/{id}", { params }), 409, "author-has-books");
for (const { id } of books) {
  const gone = await admin.DELETE("/books/{id}", { params: { path: { id } } });
  assert.equal(gone.response.status, 204);
}
assert.equal((await admin.DELETE("/authors/{id}", { params })).response.status, 204);
