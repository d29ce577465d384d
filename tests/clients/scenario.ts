// Use the service with the types that openapi-typescript generates.
// Run it as `node scenario.js ORIGIN EMAIL PASSWORD`, with the email address and password of an
// administrator. It fails if a response is not the expected one.

import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./generated/schema.js";

type Author = components["schemas"]["AuthorRead"];
type Book = components["schemas"]["BookRead"];
type Problem = components["schemas"]["Problem"];
// Lists as CSV or JSON lines are left out, because they are text.
type Json = "application/json" | "application/problem+json";
type Service = Client<paths, Json>;

interface Result<T> {
  data?: T;
  error?: Problem | undefined;
  response: Response;
}

const [origin = "", email = "", password = ""] = process.argv.slice(2);

function createService(token?: string): Service {
  const headers = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  return createClient<paths, Json>({
    baseUrl: origin,
    headers,
    querySerializer: { array: { style: "form", explode: false } },
  });
}

function checkResponse<T>({ data, error, response }: Result<T>, status: number): T {
  assert.equal(response.status, status, JSON.stringify(error));
  assert(data !== undefined);
  return data;
}

function checkProblem({ error, response }: Result<unknown>, status: number, problemType: string): Problem {
  assert.equal(response.status, status);
  assert(error !== undefined);
  assert.equal(error.type, `urn:problem-type:bookshelf:${problemType}`);
  return error;
}

function readEtag({ response }: Result<unknown>): string {
  const etag = response.headers.get("ETag");
  assert(etag !== null);
  return etag;
}

async function logIn(username: string, secret: string): Promise<Service> {
  const result = await createService().POST("/tokens", {
    body: { username, password: secret },
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  });
  const token = checkResponse(result, 201);
  assert.equal(token.scope, "read write");
  return createService(token.access_token);
}

async function registerMember(): Promise<void> {
  const body = { name: "Ada", email: `${randomUUID()}@example.com`, password: "correct horse" };
  const user = checkResponse(await createService().POST("/users", { body }), 201);
  assert.equal(user.role, "member");
  const again = checkProblem(await createService().POST("/users", { body }), 409, "email-taken");
  assert.equal(again.detail, "Email already registered");
  const member = await logIn(body.email, body.password);
  assert.deepEqual(checkResponse(await member.GET("/users/me"), 200), user);
  checkProblem(await member.POST("/authors", { body: { name: "Ursula" } }), 403, "forbidden");
  assert.equal((await member.DELETE("/tokens/current")).response.status, 204);
  checkProblem(await member.GET("/users/me"), 401, "unauthorized");
}

async function createAndUpdateAuthor(service: Service): Promise<Author> {
  const header = { "Idempotency-Key": randomUUID() };
  const body = { name: "Octavia E. Butler", dob: "1947-06-22" };
  const first = await service.POST("/authors", { params: { header }, body });
  const again = await service.POST("/authors", { params: { header }, body });
  const author = checkResponse(first, 201);
  assert.deepEqual(checkResponse(again, 201), author);
  assert.equal(again.response.headers.get("Idempotency-Replayed"), "true");
  const other = { params: { header }, body: { name: "Ursula" } };
  checkProblem(await service.POST("/authors", other), 422, "idempotency-key-reused");

  const path = { id: author.id };
  const change = {
    params: { path, header: { "If-Match": readEtag(first) } },
    body: { dob: null },
  };
  const changed = await service.PATCH("/authors/{id}", change);
  assert.equal(checkResponse(changed, 200).dob, null);
  checkProblem(await service.PATCH("/authors/{id}", change), 412, "precondition-failed");
  const conditionalParams = { path, header: { "If-None-Match": readEtag(changed) } };
  const unchanged = await service.GET("/authors/{id}", { params: conditionalParams });
  assert.equal(unchanged.response.status, 304);
  return author;
}

async function createAndListBooks(service: Service, author: Author): Promise<Book[]> {
  const titles = [..."01234"].map((number) => `Book ${number}`);
  for (const title of titles) {
    checkResponse(await service.POST("/books", { body: { title, author_id: author.id } }), 201);
  }
  const query = { author_id: author.id, size: 2, sort: ["-title" as const] };
  let page = checkResponse(await service.GET("/books", { params: { query } }), 200);
  assert.deepEqual([page.total, page.pages, page.page], [5, 3, 1]);
  const books = page.items;
  while (page.next !== null) {
    const cursor = page.next;
    page = checkResponse(await service.GET("/books", { params: { query: { ...query, cursor } } }), 200);
    books.push(...page.items);
  }
  assert.deepEqual(books.map((book) => book.title), titles.reverse());
  return books;
}

async function createInvalidBook(service: Service): Promise<void> {
  const body = { title: "", author_id: randomUUID() };
  const { errors } = checkProblem(await service.POST("/books", { body }), 422, "invalid-request");
  assert.equal(errors?.[0]?.pointer, "/title");
}

async function uploadFile(service: Service): Promise<void> {
  const content = Buffer.from("Cien años".repeat(100_000));
  const { id } = checkResponse(
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
  const document = checkResponse(await service.GET("/documents/{id}", { params: { path } }), 200);
  assert.deepEqual([document.filename, document.content_type], ["Cien años.txt", "text/plain"]);
  assert.equal(document.size, content.length);
  assert.equal(document.sha256, createHash("sha256").update(content).digest("hex"));
  assert(document.file_url !== null);
  const bytes = await (await fetch(document.file_url)).arrayBuffer();
  assert(content.equals(Buffer.from(bytes)));
  const deleted = await service.DELETE("/documents/{id}", { params: { path } });
  assert.equal(deleted.response.status, 204);
  checkProblem(await service.GET("/documents/{id}", { params: { path } }), 404, "not-found");
}

await registerMember();
const admin = await logIn(email, password);
const author = await createAndUpdateAuthor(admin);
const books = await createAndListBooks(admin, author);
await createInvalidBook(admin);
await uploadFile(admin);
const params = { path: { id: author.id } };
checkProblem(await admin.DELETE("/authors/{id}", { params }), 409, "author-has-books");
for (const { id } of books) {
  const deleted = await admin.DELETE("/books/{id}", { params: { path: { id } } });
  assert.equal(deleted.response.status, 204);
}
assert.equal((await admin.DELETE("/authors/{id}", { params })).response.status, 204);
