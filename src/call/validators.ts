// Arguments against inputSchema, results against outputSchema. Ajv compiles a schema at its first call in this worker
// and the validator is kept in an LRU of 500 (1,000 of them cost 2 s of CPU and 130 MB). A schema over the bounds is
// never turned into code: an interpreter with a step bound walks it, and also values that would keep the code of a good
// schema busy for seconds. A schema is weighed with its references followed: twenty lines of `allOf` over two equal
// references are 2^20 visits. Patterns run on a linear-time engine with a bound of its own (patterns.ts).
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
import { type Budget, Patterns } from './patterns.ts'
import { interpretSchema, resolveRef, type SchemaFault } from './schema-interpreter.ts'

/** Null when the value, whose JSON text is `bytes`, fits. */
type Check = (value: unknown, bytes: Buffer) => SchemaFault | null

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

/**
 * Nodes of a schema that one value can meet, references followed; Infinity where it nests too deeply, refers to itself, or
 * refers to anything but a place of its own (`$id`, anchors, dynamic references).
 */
function weightOf(schema: object): number {
  const known = new Map<object, number>()
  const weigh = (node: unknown, depth: number): number => {
    if (typeof node !== 'object' || node === null) return 0
    if (depth > LIMITS.schemaDepth) return Number.POSITIVE_INFINITY
    const before = known.get(node)
    if (before !== undefined) return before
    // Whoever meets it again while it is being weighed has come round in a circle.
    known.set(node, Number.POSITIVE_INFINITY)
    let weight = 1
    for (const [key, value] of Object.entries(node)) {
      if (typeof value !== 'string') weight += weigh(value, depth + 1)
      else if (key === '$ref')
        weight += /^#(?:\/|$)/.test(value) ? weigh(resolveRef(schema, value), depth + 1) : Infinity
      else if (MOVED.has(key) && node !== schema) weight += Number.POSITIVE_INFINITY
    }
    known.set(node, weight)
    return weight
  }
  return weigh(schema, 1)
}

const UNEVALUATED_WEIGHT = 4

/** Inside of a schema these change what its references mean. */
const MOVED = new Set(['$id', 'id', '$dynamicRef', '$recursiveRef'])

/** At most how many values a JSON text holds: commas inside of strings count too. */
function countValues(bytes: Buffer): number {
  let commas = 0
  for (let at = 0; at < bytes.length; at += 1) if (bytes[at] === 0x2c) commas += 1
  return commas + 1
}

/** Throws Undecided where the patterns may not go on, RangeError where the code nests too deeply for the engine. */
type Compile = (schema: object) => (value: unknown) => SchemaFault | null

class Undecided extends Error {}

/** Ajv for the two dialects that tools use; another one is read as the newer of the two. */
async function loadCompiler(): Promise<Compile> {
  const [{ Ajv }, { Ajv2020 }] = await Promise.all([import('ajv'), import('ajv/dist/2020.js')])
  return (schema) => {
    const patterns = new Patterns()
    const budget: Budget = { steps: 0 }
    const bounded = (pattern: string): { test(text: string): boolean } => ({
      test(text) {
        const fit = patterns.fits(pattern, text, budget)
        if (fit === null) throw new Undecided()
        return fit
      },
    })
    const options = {
      strict: false,
      validateFormats: false,
      // A tool may have an argument `constructor`: what every object inherits was not sent.
      ownProperties: true,
      validateSchema: false,
      addUsedSchema: false,
      meta: false as const,
      logger: false as const,
      // Not optimized: that makes compiling three times as slow, and what it saves V8 saves too.
      code: { regExp: Object.assign(bounded, { code: 'bounded' }), optimize: false },
    }
    const dialect = isRecord(schema) && typeof schema.$schema === 'string' ? schema.$schema : ''
    // A compiler of its own for each schema, so that an $id of one upstream cannot stand for another's.
    const ajv = dialect.includes('draft-07') || dialect.includes('draft-06') ? new Ajv(options) : new Ajv2020(options)
    const validate = ajv.compile({ ...schema, $schema: undefined })
    return (value) => {
      budget.steps = LIMITS.schemaSteps
      if (validate(value)) return null
      const error = validate.errors?.[0]
      return { at: error?.instancePath ?? '', message: error?.message ?? 'does not fit the schema' }
    }
  }
}

/** Errors: what the compiler throws for a schema that is none. */
function makeCheck(schema: object, text: string, compile: Compile): Check {
  const patterns = new Patterns()
  const interpreted = (value: unknown): SchemaFault | null =>
    interpretSchema(schema, value, LIMITS.schemaSteps, patterns)
  const weight = text.length > LIMITS.schemaBytes ? Number.POSITIVE_INFINITY : weightOf(schema)
  // For `unevaluated…` each part is compared with all before it: 4 s of compiling at 2,000 of them.
  const isDear = text.includes('"unevaluated')
  if (weight * (isDear ? UNEVALUATED_WEIGHT : 1) > LIMITS.schemaNodes) return interpreted
  let compiled = compileUnlessDeep(schema, compile)
  // Ajv compares each item with each other one; the interpreter does not.
  const isUnique = text.includes('"uniqueItems"')
  return (value, bytes) => {
    const values = isUnique || bytes.length * weight > LIMITS.schemaVisits ? countValues(bytes) : 0
    const visits = values * Math.max(weight, isUnique ? values : 0)
    if (compiled === null || visits > LIMITS.schemaVisits) return interpreted(value)
    try {
      return compiled(value)
    } catch (error) {
      // V8 reads the code at its first run, and finds then that it nests too deeply: it will every time.
      if (error instanceof RangeError) compiled = null
      else if (!(error instanceof Undecided)) throw error
      return interpreted(value)
    }
  }
}

/** Null where the compiler itself finds that the code would nest too deeply. */
function compileUnlessDeep(schema: object, compile: Compile): ReturnType<Compile> | null {
  try {
    return compile(schema)
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
}

export function createValidators(log: Log): Validators {
  const cache = new LRUCache<string, Check>({
    max: LIMITS.validatorCacheItems,
    maxSize: LIMITS.validatorCacheBytes,
  })
  let compile: Compile | null = null
  let loading: Promise<void> | null = null

  function make(text: string, tool: string): Check {
    try {
      const schema: unknown = JSON.parse(text)
      return isRecord(schema) ? makeCheck(schema, text, compile!) : accept
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
      cache.set(key, check, { size: text.length + 1 })
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
      const value: unknown = JSON.parse(raw.toString('utf8'))
      return checkFor(`${target.schemaKey}i`, target.inputSchema, target.exposed)(value, raw)
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
          : checkFor(`${target.schemaKey}o`, target.outputSchema, target.exposed)(inner, result)
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
