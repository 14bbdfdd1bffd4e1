// The plain alternative to a list: node:http that reads the request and writes one constant Buffer.
// Run: node bench/rig/static.ts '{"file":"body.json"}'; prints one line of JSON.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

const { file } = JSON.parse(process.argv[2] ?? '') as { file: string }
const bytes = readFileSync(file)
const server = createServer({ keepAliveTimeout: 65_000 }, (request, response) => {
  request.resume()
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': bytes.length }).end(bytes)
  })
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }))
})
