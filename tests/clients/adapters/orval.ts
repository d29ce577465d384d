// Run the scenario with the client that orval generates.

import * as bookshelf from "../generated/orval/bookshelf.js";
import { runScenario } from "../scenario.js";

type SuccessStatus = 200 | 201 | 204;
type Data<R> = R extends { data: infer D } ? D : never;
type Success<R> = Extract<R, { status: SuccessStatus }>;
type Failure<R> = Exclude<R, { status: SuccessStatus | 304 }>;

/** Divide the union of all responses of an operation into data and problems. */
async function divide<R extends { status: number; data: unknown }>(promise: Promise<R>) {
  const { status, data } = await promise;
  return status < 300 ? { data: data as Data<Success<R>> } : { error: data as Data<Failure<R>> };
}

await runScenario((origin, token) => {
  process.env.BOOKSHELF_URL = origin;
  const authorization: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const options = { headers: authorization };

  return {
    createToken: (username: string, password: string) => divide(bookshelf.createToken({ username, password })),
    createUser: (user: { name: string; email: string; password: string }) => divide(bookshelf.createUser(user)),
    readCurrentUser: () => divide(bookshelf.readCurrentUser(options)),
    createAuthor: (author: { name: string; dob: string | null }, idempotencyKey: string) =>
      divide(bookshelf.createAuthor(author, { headers: { ...authorization, "Idempotency-Key": idempotencyKey } })),
    clearDateOfBirth: (id: string, ifMatch: string) =>
      divide(bookshelf.updateAuthor(id, { dob: null }, { headers: { ...authorization, "If-Match": ifMatch } })),
    deleteAuthor: (id: string) => divide(bookshelf.deleteAuthor(id, options)),
    createBook: (book: { title: string; author_id: string }) => divide(bookshelf.createBook(book, options)),
    listBooks: (authorId: string, ids: string[], cursor: string | undefined) =>
      divide(
        bookshelf.listBooks(
          { author_id: authorId, id: ids, q: "book", sort: ["-title", "created_at"], size: 2, cursor },
          options,
        ),
      ),
    exportBooks: (authorId: string) => divide(bookshelf.downloadBooksCsv({ author_id: authorId }, options)),
    deleteBook: (id: string) => divide(bookshelf.deleteBook(id, options)),
    deleteBooks: (ids: string[]) => divide(bookshelf.deleteBooks({ ids }, options)),
    listChanges: (after: string, wait: number) => divide(bookshelf.listChanges({ after, wait }, options)),
    createDocument: (name: string, file: File) => divide(bookshelf.createDocument({ name, file }, options)),
    readDocument: (id: string) => divide(bookshelf.readDocument(id, options)),
    deleteDocument: (id: string) => divide(bookshelf.deleteDocument(id, options)),
  };
});
