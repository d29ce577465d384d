// Run the scenario with the client that @hey-api/openapi-ts generates.

import { createClient } from "../generated/hey-api/bookshelf/client/index.js";
import * as bookshelf from "../generated/hey-api/bookshelf/index.js";
import { runScenario } from "../scenario.js";

await runScenario((origin, token) => {
  const client = createClient({ baseUrl: origin, auth: token });

  return {
    createToken: (username: string, password: string) =>
      bookshelf.createToken({ client, body: { username, password } }),
    createUser: (body: { name: string; email: string; password: string }) => bookshelf.createUser({ client, body }),
    readCurrentUser: () => bookshelf.readCurrentUser({ client }),
    createAuthor: (body: { name: string; dob: string | null }, idempotencyKey: string) =>
      bookshelf.createAuthor({ client, body, headers: { "Idempotency-Key": idempotencyKey } }),
    clearDateOfBirth: (id: string, ifMatch: string) =>
      bookshelf.updateAuthor({ client, path: { id }, headers: { "If-Match": ifMatch }, body: { dob: null } }),
    deleteAuthor: (id: string) => bookshelf.deleteAuthor({ client, path: { id } }),
    createBook: (body: { title: string; author_id: string }) => bookshelf.createBook({ client, body }),
    listBooks: (authorId: string, ids: string[], cursor: string | undefined) =>
      bookshelf.listBooks({
        client,
        query: { author_id: authorId, id: ids, q: "book", sort: ["-title", "created_at"], size: 2, cursor },
      }),
    exportBooks: (authorId: string) => bookshelf.downloadBooksCsv({ client, query: { author_id: authorId } }),
    deleteBook: (id: string) => bookshelf.deleteBook({ client, path: { id } }),
    deleteBooks: (ids: string[]) => bookshelf.deleteBooks({ client, body: { ids } }),
    listChanges: (after: string, wait: number) => bookshelf.listChanges({ client, query: { after, wait } }),
    createDocument: (name: string, file: File) => bookshelf.createDocument({ client, body: { name, file } }),
    readDocument: (id: string) => bookshelf.readDocument({ client, path: { id } }),
    deleteDocument: (id: string) => bookshelf.deleteDocument({ client, path: { id } }),
  };
});
