// Run the scenario with openapi-fetch and the types that openapi-typescript generates.

import createClient from "openapi-fetch";
import type { paths } from "../generated/openapi-typescript/bookshelf.js";
import { runScenario } from "../scenario.js";

await runScenario((origin, token) => {
  const service = createClient<paths>({
    baseUrl: origin,
    headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
  });

  return {
    createToken: (username: string, password: string) =>
      service.POST("/tokens", {
        body: { username, password },
        headers: { "Content-Type": "application/x-www-form-urlencoded" },
      }),
    createUser: (body: { name: string; email: string; password: string }) => service.POST("/users", { body }),
    readCurrentUser: () => service.GET("/users/me"),
    createAuthor: (body: { name: string; dob: string | null }, idempotencyKey: string) =>
      service.POST("/authors", { params: { header: { "Idempotency-Key": idempotencyKey } }, body }),
    clearDateOfBirth: (id: string, ifMatch: string) =>
      service.PATCH("/authors/{id}", {
        params: { path: { id }, header: { "If-Match": ifMatch } },
        body: { dob: null },
      }),
    deleteAuthor: (id: string) => service.DELETE("/authors/{id}", { params: { path: { id } } }),
    createBook: (body: { title: string; author_id: string }) => service.POST("/books", { body }),
    listBooks: (authorId: string, ids: string[], cursor: string | undefined) =>
      service.GET("/books", {
        params: {
          query: {
            author_id: authorId,
            id: ids,
            q: "book",
            sort: ["-title", "created_at"],
            size: 2,
            ...(cursor === undefined ? {} : { cursor }),
          },
        },
      }),
    exportBooks: (authorId: string) =>
      service.GET("/books.csv", { params: { query: { author_id: authorId } }, parseAs: "text" }),
    deleteBook: (id: string) => service.DELETE("/books/{id}", { params: { path: { id } } }),
    deleteBooks: (ids: string[]) => service.POST("/books/deletions", { body: { ids } }),
    listChanges: (after: string, wait: number) => service.GET("/changes", { params: { query: { after, wait } } }),
    createDocument: (name: string, file: File) =>
      service.POST("/documents", {
        body: { name },
        bodySerializer(body) {
          const form = new FormData();
          form.set("name", body.name);
          form.set("file", file);
          return form;
        },
      }),
    readDocument: (id: string) => service.GET("/documents/{id}", { params: { path: { id } } }),
    deleteDocument: (id: string) => service.DELETE("/documents/{id}", { params: { path: { id } } }),
  };
});
