// A proxy that adds a bearer token and changes nothing else: lets a client that knows no tokens (the conformance suite)
// reach a gateway with authentication on. Streams both ways; 127.0.0.1 only.

import { createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface TokenProxy {
  readonly origin: string
  close(): Promise<void>
}

/**
 * Host and Origin that name the proxy itself are rewritten to the gateway's, as a reverse proxy does; foreign ones pass
 * as they are, so that the gateway's own refusal of them is what the client sees.
 */
export async function startTokenProxy(gatewayOrigin: string, token: string): Promise<TokenProxy> {
  const gateway = new URL(gatewayOrigin)
  const server = createServer((incoming, outgoing) => {
    const own = `127.0.0.1:${(server.address() as AddressInfo).port}`
    const headers = rawHeaders(incoming, own, gateway.host)
    headers.push('Authorization', `Bearer ${token}`)
    const forward = request(
      {
        host: gateway.hostname,
        port: gateway.port,
        method: incoming.method,
        path: incoming.url,
        headers,
        setHost: false,
      },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders)
        outgoing.flushHeaders()
        answer.pipe(outgoing)
        answer.on('error', () => outgoing.destroy())
      },
    )
    forward.on('error', () => outgoing.destroy())
    outgoing.on('close', () => forward.destroy())
    incoming.pipe(forward)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function rawHeaders(incoming: IncomingMessage, own: string, gatewayHost: string): string[] {
  const headers: string[] = []
  for (let at = 0; at < incoming.rawHeaders.length; at += 2) {
    const name = incoming.rawHeaders[at]!
    const value = incoming.rawHeaders[at + 1]!
    const lower = name.toLowerCase()
    if (lower === 'authorization' || lower === 'connection') continue
    const ours = (lower === 'host' || lower === 'origin') && value.replace('localhost', '127.0.0.1').endsWith(own)
    headers.push(name, ours ? value.replace('localhost', '127.0.0.1').replace(own, gatewayHost) : value)
  }
  return headers
}
