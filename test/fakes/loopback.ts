// Preloaded (`node --import`) into servers of other people that would listen on every address: here they listen on
// 127.0.0.1 and a free port, and print {"url":…} when they do.

import { type AddressInfo, Server } from 'node:net'

const listen = Server.prototype.listen
Server.prototype.listen = function (this: Server, ...args: unknown[]): Server {
  const done = args.find((arg) => typeof arg === 'function') as (() => void) | undefined
  this.once('listening', () => {
    console.log(JSON.stringify({ url: `http://127.0.0.1:${(this.address() as AddressInfo).port}/mcp` }))
  })
  return listen.call(this, { host: '127.0.0.1', port: 0 }, done) as Server
} as typeof listen
