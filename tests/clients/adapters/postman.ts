// Run the Postman collection with newman. Each of its requests has to be well-formed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import newman, { type NewmanRunSummary } from "newman";
import postman, { type Collection, type Item, type RequestAuthDefinition } from "postman-collection";

// Other errors are the right response to an example, for example 404 for a document.
const malformed = [400, 401, 403, 405, 406, 411, 413, 414, 415, 422];

function log(message: string): void {
  process.stderr.write(`${message}\n`);
}

async function logIn(origin: string, username: string, password: string): Promise<string> {
  const body = new URLSearchParams({ username, password });
  const response = await fetch(`${origin}/tokens`, { method: "POST", body });
  const { access_token } = (await response.json()) as { access_token: string };
  return access_token;
}

/** Return the requests of a collection. The logout comes last, because it ends the token. */
function listRequests(collection: Collection): Item[] {
  const items: Item[] = [];
  collection.forEachItem((item) => items.push(item));
  const isLogout = (item: Item) => item.request.method === "DELETE" && item.request.url.getPath() === "/tokens/current";
  return [...items.filter((item) => !isLogout(item)), ...items.filter(isLogout)];
}

function runCollection(collection: Collection, origin: string): Promise<NewmanRunSummary> {
  return new Promise((resolve, reject) => {
    newman.run({ collection, envVar: [{ key: "baseUrl", value: origin }] }, (error, summary) =>
      error ? reject(error) : resolve(summary),
    );
  });
}

const [origin = "", email = "", password = ""] = process.argv.slice(2);
const bearer: RequestAuthDefinition = {
  type: "bearer",
  bearer: [{ type: "string", key: "token", value: await logIn(origin, email, password) }],
};
const requests = listRequests(new postman.Collection(JSON.parse(readFileSync("bookshelf.json", "utf8"))));
for (const { request } of requests) {
  request.auth = undefined;
}
const summary = await runCollection(new postman.Collection({ item: requests, auth: bearer }), origin);
const failures = summary.run.executions.filter(({ response }) => !response || malformed.includes(response.code));
for (const { item, response } of failures) {
  log(`${item.name}: ${response?.code} ${response?.text()}`);
}
assert.equal(summary.run.executions.length, requests.length);
assert.equal(failures.length, 0);
