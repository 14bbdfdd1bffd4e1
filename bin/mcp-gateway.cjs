#!/usr/bin/env node
// The published command. It runs on any Node from 12 on (no `node:` names, no `??`, no `?.`): it finds a Node that can run
// mcp-gateway, says plainly what is needed when there is none, and starts dist/main.js. Everything else lives there.
'use strict'

const fs = require('fs')
const os = require('os')
const path = require('path')

const NEEDED = [24, 12]
const root = path.join(__dirname, '..')
const main = path.join(root, 'dist', 'main.js')

if (!fs.existsSync(main)) stop('dist/ is missing', `Run "npm run prepare" in ${root} to build it.`)
else if (isGood(process.versions.node)) startHere()
else startOnOwnNode()

function isGood(version) {
  const parts = version.split('.').map(Number)
  return parts[0] > NEEDED[0] || (parts[0] === NEEDED[0] && parts[1] >= NEEDED[1])
}

/** This process is the gateway: no second process, no copy of anything. */
function startHere() {
  try {
    // Compiled code is kept between starts. Without a home or a folder to write to, the start is only slower.
    const cache = process.env.XDG_CACHE_HOME || path.join(os.homedir(), '.cache')
    const folder = path.join(cache, 'mcp-gateway', 'compiled')
    require('module').enableCompileCache(folder)
    // For worker processes; stdio upstreams get an environment of their own.
    process.env.NODE_COMPILE_CACHE = process.env.NODE_COMPILE_CACHE || folder
  } catch (_error) {}
  import('../dist/main.js').then(
    (module) => {
      module.main(process.argv.slice(2))
    },
    (error) => {
      stop(`dist/ cannot be loaded: ${error.message}`, `Run "npm ci" in ${root} again.`)
    },
  )
}

/** The repository brings a Node of its own as an optional dependency (Linux, x64 and arm64). */
function startOnOwnNode() {
  const node = path.join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin', 'node')
  if (!fs.existsSync(node)) return stopForNode()
  const args = [__filename].concat(process.argv.slice(2))
  if (typeof process.execve === 'function') {
    try {
      process.execve(node, [node].concat(args), process.env)
    } catch (_error) {
      return stopForNode()
    }
  }
  const child = require('child_process').spawn(node, args, { stdio: 'inherit' })
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2']
  signals.forEach((signal) => {
    process.on(signal, () => {
      child.kill(signal)
    })
  })
  child.on('error', stopForNode)
  child.on('exit', (code, signal) => {
    if (signal === null) return process.exit(code)
    signals.forEach((name) => {
      process.removeAllListeners(name)
    })
    process.kill(process.pid, signal)
  })
}

function stopForNode() {
  stop(
    `Node.js ${NEEDED.join('.')} or newer is needed; this is ${process.versions.node}`,
    'Get the current LTS from https://nodejs.org/ or by your version manager, e.g. "nvm install 24" or "fnm install 24".',
  )
}

function stop(what, hint) {
  process.stderr.write(`mcp-gateway: ${what}\n  ${hint}\n`)
  process.exitCode = 1
}
