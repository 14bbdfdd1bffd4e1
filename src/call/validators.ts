// Arguments against inputSchema, results against outputSchema. Ajv compiles a schema at its first call in this worker
// and the validator is kept in an LRU of 500 (1,000 of them cost 2 s of CPU and 130 MB). A schema over the bounds is
// never turned into code: an interpreter with a step bound walks it. Patterns run on a linear-time engine.
// Absent on purpose: fetching of remote $refs (never), `format` (an annotation in 2020-12).

import { LRUCache } from 'lru-cache'
import type { Call, Reply } from '../core/call.ts'
import { GatewayError } from '../core/errors.ts'
import { LIMITS } from '../core/limits.ts'
import { isRecord } from '../mcp/classify.ts'
import { find, scanMembers } from '../mcp/json.ts'
import type { ToolTarget } from '../registry/snapshot.ts'
import type { Log } from '../telemetry/log.ts'
import { withFixed } from './params.ts'
import { interpretSchema, type SchemaFault } from './schema-interpreter.ts'

/** Null when the value fits. */
export type Check = (value: unknown) => SchemaFault | null

export interface Validators {
  /** Loads the compiler (about 40 ms, once, at the first call that needs it); null when it is there. */
  load(): Promise<void> | null
  arguments(
    target: ToolTarget,
    given: Buffer | null,
    fixed: Readonly<Record<string, unknown>> | null,
  ): SchemaFault | null
  /** The reply itself, or INVALID_RESULT as an error of the call. */
  checkResult(target: ToolTarget, call: Call, reply: Reply): Reply
  /** How many compiled validators are kept. */
  readonly size: number
}

const EMPTY = Buffer.from('{}')
const accept: Check = () => null

/** Number of nodes and depth of a schema, counted until a bound is passed. */
function isSmall(schema: unknown): boolean {
  let nodes = 0
  const fits = (value: unknown, depth: number): boolean => {
    if (typeof value !== 'object' || value === null) return true
    nodes += 1
    if (nodes > LIMITS.schemaNodes || depth > LIMITS.schemaDepth) return false
    return Object.values(value).every((item) => fits(item, depth + 1))
  }
  return fits(schema, 1)
}

type Compile = (schema: object) => Check

/** Ajv for the two dialects that tools use; another dialect is refused by name. */
async function loadCompiler(): Promise<Compile> {
  const [{ Ajv }, { Ajv2020 }, { RE2JS }] = await Promise.all([
    import('ajv'),
    import('ajv/dist/2020.js'),
    import('re2js'),
  ])
  const linear = (pattern: string): { test(text: string): boolean } => {
    const compiled = RE2JS.compile(pattern)
    return { test: (text) => compiled.matcher(text).find() }
  }
  const options = {
    strict: false,
    validateFormats: false,
    validateSchema: false,
    addUsedSchema: false,
    meta: false as const,
    logger: false as const,
    code: { regExp: Object.assign(linear, { code: 'linear' }) },
  }
  return (schema) => {
    const dialect = isRecord(schema) && typeof schema.$schema === 'string' ? schema.$schema : ''
    // A compiler of its own for each schema, so that an $id of one upstream cannot stand for another's.
    const ajv = dialect.includes('draft-07') || dialect.includes('draft-06') ? new Ajv(options) : new Ajv2020(options)
    const validate = ajv.compile({ ...schema, $schema: undefined })
    return (value) => {
      try {
        if (validate(value)) return null
      } catch (error) {
        // A $ref that names itself ends the stack: the schema decides nothing, so nothing is refused by it.
        if (error instanceof RangeError) return null
        throw error
      }
      const error = validate.errors?.[0]
      return { at: error?.instancePath ?? '', message: error?.message ?? 'does not fit the schema' }
    }
  }
}

export function createValidators(log: Log): Validators {
  const cache = new LRUCache<string, Check>({ max: LIMITS.validatorCacheItems })
  let compile: Compile | null = null
  let loading: Promise<void> | null = null

  function make(text: string, tool: string): Check {
    try {
      const schema: unknown = JSON.parse(text)
      if (!isRecord(schema)) return accept
      if (text.length > LIMITS.schemaBytes || !isSmall(schema))
        return (value) => interpretSchema(schema, value, LIMITS.schemaSteps)
      return compile!(schema)
    } catch (error) {
      // A schema that cannot be compiled is the upstream's fault, and the upstream will check its arguments itself.
      log.warn('schema_not_usable', { tool, error })
      return accept
    }
  }

  function checkFor(key: string, text: string, tool: string): Check {
    let check = cache.get(key)
    if (check === undefined) {
      check = make(text, tool)
      cache.set(key, check)
    }
    return check
  }

  return {
    load() {
      if (compile !== null) return null
      loading ??= loadCompiler().then((loaded) => {
        compile = loaded
      })
      return loading
    },
    arguments(target, given, fixed) {
      if (target.inputSchema === null) return null
      const raw = fixed === null ? (given ?? EMPTY) : withFixed(given ?? EMPTY, fixed)
      return checkFor(`${target.schemaKey}i`, target.inputSchema, target.exposed)(JSON.parse(raw.toString('utf8')))
    },
    checkResult(target, call, reply) {
      if (target.outputSchema === null || 'error' in reply) return reply
      const result = Array.isArray(reply.result) ? Buffer.concat(reply.result) : (reply.result as Buffer)
      const members = scanMembers(result, 0, result.length, 512)
      const isError = find(members, 'isError')
      if (isError !== null && result.toString('latin1', isError.start, isError.end) === 'true') return reply
      const content = find(members, 'structuredContent')
      const value: unknown =
        content === null ? undefined : JSON.parse(result.toString('utf8', content.start, content.end))
      const inner = target.wrapped && call.era === 'legacy' && isRecord(value) ? value.result : value
      const fault =
        content === null
          ? { at: '', message: 'structuredContent is missing' }
          : checkFor(`${target.schemaKey}o`, target.outputSchema, target.exposed)(inner)
      if (fault === null) return reply
      if (knowsToolErrors(call))
        return { result: errorResult(call, `The result of the tool does not fit its outputSchema: ${describe(fault)}`) }
      throw new GatewayError(
        'INVALID_RESULT',
        `The result of the tool does not fit its outputSchema: ${describe(fault)}`,
      )
    },
    get size() {
      return cache.size
    },
  }
}

function describe(fault: SchemaFault): string {
  return `${fault.at === '' ? 'the value' : fault.at} ${fault.message}`
}

/** 2025-11-25 and later: faults of arguments are tool results, so that the model can correct itself. */
function knowsToolErrors(call: Call): boolean {
  return call.revision >= '2025-11-25'
}

function errorResult(call: Call, text: string): Buffer {
  const result = { content: [{ type: 'text', text }], isError: true }
  return Buffer.from(JSON.stringify(call.era === 'modern' ? { resultType: 'complete', ...result } : result))
}

/** The answer to arguments that do not fit. Errors: INVALID_ARGUMENTS for revisions before 2025-11-25. */
export function faultResult(call: Call, fault: SchemaFault): Buffer {
  const text = `The arguments do not fit the tool's inputSchema: ${describe(fault)}`
  if (!knowsToolErrors(call)) throw new GatewayError('INVALID_ARGUMENTS', text, { faults: [fault] })
  return errorResult(call, text)
}
