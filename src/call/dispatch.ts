// One table of methods per era; a method that is not in its era's table does not exist. Notifications never come here.

import { type Call, LOG_LEVELS, type Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import type { Gateway } from './gateway.ts'
import { callTool, complete, getPrompt, readResource } from './handle.ts'
import { discover, initialize } from './hello.ts'
import { list } from './list.ts'
import { subscribe } from './subscribe.ts'
import { listTasks, task } from './tasks.ts'

type Handler = (call: Call, gateway: Gateway) => Promise<Reply>

const EMPTY: Reply = { result: Buffer.from('{}') }

/** The edge has noted the level in the session; it takes effect with the next call (upstream/send.ts). */
async function setLevel(call: Call): Promise<Reply> {
  const level = call.params.value('level')
  if (!(LOG_LEVELS as readonly unknown[]).includes(level)) {
    throw new GatewayError('INVALID_PARAMS', `params.level must be one of ${LOG_LEVELS.join(', ')}`)
  }
  return EMPTY
}

const BOTH: Readonly<Record<string, Handler>> = {
  'tools/call': callTool,
  'tools/list': list,
  'prompts/get': getPrompt,
  'prompts/list': list,
  'resources/read': readResource,
  'resources/list': list,
  'resources/templates/list': list,
  'completion/complete': complete,
}

const LEGACY: ReadonlyMap<string, Handler> = new Map(
  Object.entries({
    ...BOTH,
    initialize,
    ping: async () => EMPTY,
    'logging/setLevel': setLevel,
    'resources/subscribe': subscribe,
    'resources/unsubscribe': subscribe,
    'tasks/get': task,
    'tasks/result': task,
    'tasks/cancel': task,
    'tasks/list': listTasks,
  }),
)

const MODERN: ReadonlyMap<string, Handler> = new Map(
  Object.entries({
    ...BOTH,
    'server/discover': discover,
    'tasks/get': task,
    'tasks/update': task,
    'tasks/cancel': task,
  }),
)

export type Dispatch = (call: Call) => Promise<Reply>

/** Errors: any GatewayError; METHOD_NOT_FOUND for what this era does not know. */
export function createDispatch(gateway: Gateway): Dispatch {
  return (call) => {
    const handler = (call.era === 'modern' ? MODERN : LEGACY).get(call.method)
    if (handler === undefined)
      return Promise.reject(new GatewayError('METHOD_NOT_FOUND', `Unknown method: ${call.method.slice(0, 100)}`))
    return handler(call, gateway)
  }
}
