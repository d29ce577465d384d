// Run the scenario with the client that swagger-typescript-api generates.

import { Api, type HttpResponse } from "../generated/swagger-typescript-api/bookshelf.js";
import { runScenario } from "../scenario.js";

/** Parse the problem, because the client only parses those of operations that return JSON. */
async function parseProblem<Data, Problem>(promise: Promise<HttpResponse<Data, Problem>>) {
  const response = await promise;
  if (!response.ok) {
    response.error = (await response.json()) as Problem;
  }
  return response;
}

await runScenario((origin, token) => {
  const { authors, books, booksCsv, changes, documents, tokens, users } = new Api<string>({
    baseUrl: origin,
    baseApiParams: token === undefined ? {} : { headers: { Authorization: `Bearer ${token}` } },
  });

  return {
    createToken: (username: string, password: string) => tokens.createToken({ username, password }),
    createUser: (user: { name: string; email: string; password: string }) => users.createUser(user),
    readCurrentUser: () => users.readCurrentUser(),
    createAuthor: (author: { name: string; dob: string | null }, idempotencyKey: string) =>
      authors.createAuthor(author, { headers: { "Idempotency-Key": idempotencyKey } }),
    clearDateOfBirth: (id: string, ifMatch: string) =>
      authors.updateAuthor(id, { dob: null }, { headers: { "If-Match": ifMatch } }),
    deleteAuthor: (id: string) => parseProblem(authors.deleteAuthor(id)),
    createBook: (book: { title: string; author_id: string }) => books.createBook(book),
    listBooks: (authorId: string, ids: string[], cursor: string | undefined) =>
      books.listBooks({ author_id: authorId, id: ids, q: "book", sort: ["-title", "created_at"], size: 2, cursor }),
    exportBooks: (authorId: string) => booksCsv.downloadBooksCsv({ author_id: authorId }, { format: "text" }),
    deleteBook: (id: string) => parseProblem(books.deleteBook(id)),
    deleteBooks: (ids: string[]) => books.deleteBooks({ ids }),
    listChanges: (after: string, wait: number) => changes.listChanges({ after, wait }),
    createDocument: (name: string, file: File) => documents.createDocument({ name, file }),
    readDocument: (id: string) => documents.readDocument(id),
    deleteDocument: (id: string) => parseProblem(documents.deleteDocument(id)),
  };
});
