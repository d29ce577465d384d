// A peer: Fastify with @fastify/postgres, as in the README of the plugin and the pages "Routes" and
// "Validation and Serialization": `pg.query` on the pool of the plugin, and JSON schemas for requests
// and responses. It differs from them in the tables and the pool size, which are ours. In the form
// `production`, it has its logger (pino), looks up the user of the token in a hook, and runs in two
// processes as in https://nodejs.org/docs/latest/api/cluster.html.
// https://github.com/fastify/fastify-postgres#usage and https://fastify.dev/docs/latest/Reference/
'use strict'

const cluster = require('node:cluster')
const { createHash } = require('node:crypto')

const production = process.env.BENCHMARK_FORM === 'production'
const fastify = require('fastify')({ logger: production })

fastify.register(require('@fastify/postgres'), {
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.POOL_SIZE)
})

async function authenticate (req, reply) {
  const token = (req.headers.authorization || '').replace('Bearer ', '')
  const { rows } = await fastify.pg.query(
    `SELECT u.id, u.name, u.role FROM tokens t JOIN users u ON u.id = t.user_id
     WHERE t.digest = $1 AND t.expires_at > now()`,
    [createHash('sha256').update(token).digest()]
  )
  if (!rows.length) return reply.code(401).send({ message: 'Unauthorized' })
  req.user = rows[0]
}

if (production) {
  fastify.decorateRequest('user', null)
  fastify.addHook('onRequest', authenticate)
}

const uuid = { type: 'string', format: 'uuid' }
const instant = { type: 'string', format: 'date-time' }
const dob = { type: 'string', format: 'date', nullable: true }
const name = { type: 'string', minLength: 1, maxLength: 200 }
const params = { type: 'object', properties: { id: uuid } }
const querystring = {
  type: 'object',
  properties: {
    limit: { type: 'integer', minimum: 1, maximum: 100, default: 20 },
    offset: { type: 'integer', minimum: 0, default: 0 }
  }
}
const summary = { type: 'object', properties: { id: uuid, name, dob } }
const author = {
  type: 'object',
  properties: { ...summary.properties, created_at: instant, updated_at: instant }
}
const book = {
  type: 'object',
  properties: {
    id: uuid,
    title: { type: 'string' },
    author_id: uuid,
    author: summary,
    created_at: instant,
    updated_at: instant
  }
}
const message = { type: 'object', properties: { message: { type: 'string' } } }

function list (item) {
  return {
    type: 'object',
    properties: { items: { type: 'array', items: item }, total: { type: 'integer' } }
  }
}

const AUTHOR = 'id, name, dob, created_at, updated_at'
const BOOKS = `
  SELECT b.id, b.title, b.author_id, b.created_at, b.updated_at, a.name, a.dob
  FROM books b JOIN authors a ON a.id = b.author_id`

function nested ({ name, dob, ...row }) {
  return { ...row, author: { id: row.author_id, name, dob } }
}

function found (rows, reply) {
  return rows.length ? rows[0] : reply.code(404).send({ message: 'Not found' })
}

fastify.get('/books', { schema: { querystring, response: { 200: list(book) } } }, async (req) => {
  const { limit, offset } = req.query
  const { rows } = await fastify.pg.query(
    `${BOOKS} ORDER BY b.created_at, b.id LIMIT $1 OFFSET $2`, [limit, offset]
  )
  return { items: rows.map(nested) }
})

fastify.get('/books/:id', { schema: { params, response: { 200: book, 404: message } } }, async (req, reply) => {
  const { rows } = await fastify.pg.query(`${BOOKS} WHERE b.id = $1`, [req.params.id])
  return found(rows.map(nested), reply)
})

fastify.get('/authors', { schema: { querystring, response: { 200: list(author) } } }, async (req) => {
  const { limit, offset } = req.query
  const [page, count] = await Promise.all([
    fastify.pg.query(`SELECT ${AUTHOR} FROM authors ORDER BY created_at LIMIT $1 OFFSET $2`, [limit, offset]),
    fastify.pg.query('SELECT count(*)::int AS total FROM authors')
  ])
  return { items: page.rows, total: count.rows[0].total }
})

fastify.get('/authors/:id', { schema: { params, response: { 200: author, 404: message } } }, async (req, reply) => {
  const { rows } = await fastify.pg.query(`SELECT ${AUTHOR} FROM authors WHERE id = $1`, [req.params.id])
  return found(rows, reply)
})

const body = { type: 'object', required: ['name'], properties: { name, dob } }
fastify.post('/authors', { schema: { body, response: { 201: author } } }, async (req, reply) => {
  const { rows } = await fastify.pg.query(
    `INSERT INTO authors (id, name, dob) VALUES (gen_random_uuid(), $1, $2) RETURNING ${AUTHOR}`,
    [req.body.name, req.body.dob]
  )
  return reply.code(201).send(rows[0])
})

const changes = { type: 'object', properties: { name, dob } }
fastify.patch('/authors/:id', { schema: { params, body: changes, response: { 200: author, 404: message } } }, async (req, reply) => {
  const names = Object.keys(req.body)
  const assignments = names.map((name, index) => `${name} = $${index + 2}, `).join('')
  const { rows } = await fastify.pg.query(
    `UPDATE authors SET ${assignments} updated_at = now() WHERE id = $1 RETURNING ${AUTHOR}`,
    [req.params.id, ...names.map((name) => req.body[name])]
  )
  return found(rows, reply)
})

fastify.delete('/authors/:id', { schema: { params, response: { 404: message } } }, async (req, reply) => {
  const { rowCount } = await fastify.pg.query('DELETE FROM authors WHERE id = $1', [req.params.id])
  return rowCount ? reply.code(204).send() : reply.code(404).send({ message: 'Not found' })
})

const processes = Number(process.env.WEB_CONCURRENCY)
if (cluster.isPrimary && processes > 1) {
  for (let number = 0; number < processes; number++) cluster.fork()
} else {
  fastify.listen({ port: Number(process.env.PORT) }, (err) => {
    if (err) throw err
  })
}
