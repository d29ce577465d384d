// The life of documents with `fetch`, in Node.js and in browsers.
// See tests/support/document_life.py, which does the same and describes the plan.

const MIB = 1024 * 1024

/** Bytes that differ from those at every other part of the file: 0 to 250, repeated. */
function createContent(size) {
  const content = new Uint8Array(size)
  for (let index = 0; index < size; index++) content[index] = index % 251
  return content
}

async function sha256(buffer) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', buffer))
  return Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('')
}

/** Return a form whose content is a Blob, to which the form gives a filename. */
function createForm(content, filename = 'thesis.pdf', type = 'application/pdf', fieldName = 'name') {
  const form = new FormData()
  form.append(fieldName, 'Thesis')
  form.append('file', new Blob([content], { type }), filename)
  return form
}

/** Return options of fetch that send a form in chunks, without a Content-Length. */
function streamForm(form) {
  const encoded = new Response(form)
  const headers = { 'Content-Type': encoded.headers.get('Content-Type') }
  return { body: encoded.body, duplex: 'half', headers }
}

async function describeDownload(response) {
  return {
    status: response.status,
    disposition: response.headers.get('Content-Disposition'),
    content_type: response.headers.get('Content-Type'),
    sha256: await sha256(await response.arrayBuffer()),
  }
}

/** Return the result of a function, or the error if a browser hides the response of the store. */
async function attempt(readResult) {
  try {
    return await readResult()
  } catch (error) {
    return { error: `${error} ${error.cause ?? ''}` }
  }
}

async function describeProblem(response) {
  return [response.status, (await response.json()).type.split(':').pop()]
}

class DocumentLife {
  constructor(plan, canStream) {
    this.plan = plan
    this.canStream = canStream
    this.url = `${plan.api}/documents`
  }

  /** Send a request with the token. */
  send(method, url, { headers = {}, ...options } = {}) {
    const Authorization = `Bearer ${this.plan.token}`
    return fetch(url, { method, headers: { Authorization, ...headers }, ...options })
  }

  async download(url) {
    return describeDownload(await fetch(url))
  }

  async uploadNames() {
    const results = []
    for (const filename of this.plan.filenames) {
      const response = await this.send('POST', this.url, { body: createForm('content', filename) })
      const document = await response.json()
      const result = { sent: filename, status: response.status, document }
      if (response.status === 201) result.download = await this.download(document.file_url)
      results.push(result)
    }
    return results
  }

  async uploadSizes() {
    const results = []
    for (const [number, size] of this.plan.sizes.entries()) {
      const form = createForm(createContent(size))
      const isStreamed = this.canStream && number % 4 === 0
      const response = await this.send('POST', this.url, isStreamed ? streamForm(form) : { body: form })
      const document = await response.json()
      const download = await this.download(document.file_url)
      results.push({ status: response.status, size: document.size, sha256: document.sha256, download })
    }
    return results
  }

  async changeDocument() {
    const created = await this.send('POST', this.url, { body: createForm('first') })
    const url = `${this.url}/${(await created.json()).id}`
    const headers = { 'If-Match': created.headers.get('ETag') }
    const body = new FormData()
    // A File has its own name.
    body.append('file', new File(['0123456789'], 'Åse.txt', { type: 'text/plain; charset=utf-8' }))
    const replaced = await this.send('PATCH', url, { headers, body })
    const stale = await this.send('PATCH', url, { headers, body })
    const fileUrl = (await replaced.json()).file_url
    const range = await fetch(fileUrl, { headers: { Range: 'bytes=2-4' } })
    return {
      replaced: replaced.status,
      stale: await describeProblem(stale),
      download: await this.download(fileUrl),
      redirected: await attempt(async () => describeDownload(await this.send('GET', `${url}/content`))),
      head: await attempt(() => this.readHead(`${url}/content`)),
      range: await range.text(),
      direct: await attempt(() => this.uploadDirectly(url)),
      deleted: (await this.send('DELETE', url)).status,
      gone: (await this.send('GET', url)).status,
    }
  }

  async readHead(url) {
    const response = await this.send('HEAD', url)
    return { status: response.status, size: response.headers.get('Content-Length') }
  }

  async uploadDirectly(url) {
    const body = new Blob([createContent(MIB)])
    const file = { filename: 'direct.bin', content_type: 'application/x-thing', size: body.size }
    const headers = { 'Content-Type': 'application/json' }
    const created = await this.send('POST', `${url}/uploads`, { headers, body: JSON.stringify(file) })
    const upload = await created.json()
    const sent = await fetch(upload.parts[0].url, { method: 'PUT', body })
    const completed = await this.send('POST', `${url}/uploads/${upload.id}/complete`)
    const result = { sent: sent.status, completed: completed.status }
    if (completed.status === 200) {
      result.download = await this.download((await completed.json()).file_url)
    }
    return result
  }

  async sendRefusedFiles() {
    const send = async options => describeProblem(await this.send('POST', this.url, options))
    const tooLarge = createForm(new Uint8Array(this.plan.too_large))
    const content = new Uint8Array(this.plan.with_unknown_field)
    const unknownField = createForm(content, 'thesis.pdf', 'application/pdf', 'title')
    const results = {
      'too large': await send({ body: tooLarge }),
      'without a valid token': await send({ headers: { Authorization: 'Bearer wrong' }, body: tooLarge }),
      'with an unknown field': await send({ body: unknownField }),
    }
    if (this.canStream) results['too large and streamed'] = await send(streamForm(tooLarge))
    return results
  }
}

/** Run all parts of a plan, and return their results. An error of a part is its result. */
async function runDocumentLife(plan, canStream) {
  const life = new DocumentLife(plan, canStream)
  // The refusals come first, so that the client then uses connections after them.
  const refused = plan.too_large ? await attempt(() => life.sendRefusedFiles()) : {}
  return {
    refused,
    names: await attempt(() => life.uploadNames()),
    sizes: await attempt(() => life.uploadSizes()),
    change: await attempt(() => life.changeDocument()),
  }
}

// Node.js runs this file with the plan as its argument. Browsers cannot stream a request over
// HTTP/1.1.
if (typeof process !== 'undefined') {
  const plan = JSON.parse(process.argv[2])
  runDocumentLife(plan, true).then(results => console.log(JSON.stringify(results)))
}
