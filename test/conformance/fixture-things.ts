// What the official conformance suite expects a server to have: tools, prompts and resources by exact name, here on the
// official SDK. The same factory makes the instance of a legacy session and of one modern request. Absent on purpose:
// the tasks and skills extensions, which the suite does not score.

import { randomBytes } from 'node:crypto'
import {
  acceptedContent,
  type CallToolResult,
  CLIENT_CAPABILITIES_META_KEY,
  type ClientCapabilities,
  createRequestStateCodec,
  fromJsonSchema,
  type InputRequests,
  type InputRequiredResult,
  inputRequired,
  McpServer,
  ResourceTemplate,
  type ServerContext,
} from '@modelcontextprotocol/server'

export interface Hooks {
  toolsChanged(): void
  promptsChanged(): void
  /** Closes the event stream of a running request, as a server does that wants to be polled. */
  closeStream(context: ServerContext): void
}

type ToolAnswer = CallToolResult | InputRequiredResult
type Run = (args: Record<string, unknown>, context: ServerContext) => ToolAnswer | Promise<ToolAnswer>
type JsonSchema = Record<string, unknown>

interface ToolEntry {
  readonly name: string
  readonly description: string
  readonly schema?: JsonSchema
  readonly run: Run
}

/** A red PNG of one pixel. */
const PIXEL = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=='
/** A WAV file that holds no sound. */
const SILENCE = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA='

const NOTHING: JsonSchema = { type: 'object', properties: {} }

/** One key for the process: a modern request is served by a new instance each time, and only the state comes back. */
const states = createRequestStateCodec<{ readonly about: string; readonly round?: number; readonly name?: string }>({
  key: new Uint8Array(randomBytes(32)),
})

const text = (words: string): CallToolResult => ({ content: [{ type: 'text', text: words }] })
const image = { type: 'image', data: PIXEL, mimeType: 'image/png' } as const
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const stringForm = (field: string): { type: 'object'; properties: JsonSchema; required: string[] } => ({
  type: 'object',
  properties: { [field]: { type: 'string' } },
  required: [field],
})
const askText = (message: string, field: string) =>
  inputRequired.elicit({ message, requestedSchema: stringForm(field) as never })
const askConsent = () =>
  inputRequired.elicit({
    message: 'Is that right?',
    requestedSchema: { type: 'object', properties: { ok: { type: 'boolean' } }, required: ['ok'] },
  })
const askModel = (question: string) =>
  inputRequired.createMessage({
    messages: [{ role: 'user', content: { type: 'text', text: question } }],
    maxTokens: 64,
  })

/** The accepted string of a form answer, or null. */
function answered(context: ServerContext, key: string, field: string): string | null {
  const value = acceptedContent<Record<string, unknown>>(context.mcpReq.inputResponses, key)?.[field]
  return typeof value === 'string' ? value : null
}

/** The raw answer to an embedded request, whatever its kind. */
function rawAnswer<T>(context: ServerContext, key: string): T | undefined {
  return context.mcpReq.inputResponses?.[key] as T | undefined
}

interface ModelAnswer {
  readonly content?: { readonly text?: string }
}
interface RootsAnswer {
  readonly roots?: readonly { readonly uri?: string }[]
}

const contentTools: readonly ToolEntry[] = [
  {
    name: 'test_simple_text',
    description: 'Answers one line of text',
    run: () => text('Plain words, nothing else.'),
  },
  {
    name: 'test_image_content',
    description: 'Answers a picture',
    run: () => ({ content: [image] }),
  },
  {
    name: 'test_audio_content',
    description: 'Answers a sound',
    run: () => ({ content: [{ type: 'audio', data: SILENCE, mimeType: 'audio/wav' }] }),
  },
  {
    name: 'test_embedded_resource',
    description: 'Answers an embedded resource',
    run: () => ({
      content: [
        { type: 'resource', resource: { uri: 'test://embedded', mimeType: 'text/plain', text: 'Embedded words.' } },
      ],
    }),
  },
  {
    name: 'test_multiple_content_types',
    description: 'Answers text, a picture and a resource at once',
    run: () => ({
      content: [
        { type: 'text', text: 'First of three.' },
        image,
        { type: 'resource', resource: { uri: 'test://mixed', mimeType: 'application/json', text: '{"third":true}' } },
      ],
    }),
  },
  {
    name: 'test_error_handling',
    description: 'Always fails',
    run: () => {
      throw new Error('This tool fails on purpose.')
    },
  },
  {
    name: 'json_schema_2020_12_tool',
    description: 'Has an inputSchema that uses much of JSON Schema 2020-12',
    schema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      $defs: {
        address: {
          $anchor: 'addressDef',
          type: 'object',
          properties: { street: { type: 'string' }, city: { type: 'string' } },
        },
      },
      properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' },
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
      // biome-ignore lint/suspicious/noThenProperty: `then` is the schema keyword under test
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    },
    run: (args) => text(JSON.stringify(args)),
  },
  {
    name: 'test_x_mcp_header',
    description: 'Has an argument that clients mirror into a header',
    schema: {
      type: 'object',
      properties: { region: { type: 'string', 'x-mcp-header': 'Region' }, level: { type: 'integer' } },
    },
    run: (args) => text(`region ${String(args.region ?? 'unset')}`),
  },
]

const notifyingTools: readonly ToolEntry[] = [
  {
    name: 'test_tool_with_logging',
    description: 'Logs three lines while it runs',
    run: async (_args, context) => {
      for (const step of ['started', 'working', 'done']) {
        await context.mcpReq.notify({
          method: 'notifications/message',
          params: { level: 'info', logger: 'fixture', data: step },
        })
        await pause(20)
      }
      return text('Logged three lines.')
    },
  },
  {
    name: 'test_logging_tool',
    description: 'Logs one line to clients that asked for it',
    run: async (_args, context) => {
      await context.mcpReq.log('info', 'only for those who asked')
      return text('Logged.')
    },
  },
  {
    name: 'test_tool_with_progress',
    description: 'Reports progress three times while it runs',
    run: async (_args, context) => {
      const progressToken = context.mcpReq._meta?.progressToken
      if (progressToken === undefined) return text('Nobody asked for progress.')
      for (const progress of [0, 50, 100]) {
        await context.mcpReq.notify({
          method: 'notifications/progress',
          params: { progressToken, progress, total: 100, message: `${progress} of 100` },
        })
        await pause(20)
      }
      return text('Reported progress.')
    },
  },
  {
    name: 'test_streaming_elicitation',
    description: 'Answers without asking anything',
    run: () => text('Nothing was asked.'),
  },
]

/** The 2025 form: a request of its own to the client, in the middle of the call. */
async function asked(question: Promise<unknown>): Promise<CallToolResult> {
  try {
    return text(`Answer: ${JSON.stringify(await question)}`)
  } catch (error) {
    return { ...text(`No answer: ${error instanceof Error ? error.message : String(error)}`), isError: true }
  }
}

const legacyAskingTools: readonly ToolEntry[] = [
  {
    name: 'test_sampling',
    description: "Asks the client's model",
    schema: { type: 'object', properties: { prompt: { type: 'string' } }, required: ['prompt'] },
    run: (args, context) =>
      asked(
        context.mcpReq.send({
          method: 'sampling/createMessage',
          params: {
            messages: [{ role: 'user', content: { type: 'text', text: String(args.prompt) } }],
            maxTokens: 64,
          },
        }),
      ),
  },
  {
    name: 'test_elicitation',
    description: 'Asks the user',
    schema: { type: 'object', properties: { message: { type: 'string' } }, required: ['message'] },
    run: (args, context) =>
      asked(
        context.mcpReq.send({
          method: 'elicitation/create',
          params: { message: String(args.message), requestedSchema: stringForm('response') },
        }),
      ),
  },
  {
    name: 'test_elicitation_sep1034_defaults',
    description: 'Asks the user with a form that has a default for every kind of field',
    run: (_args, context) =>
      asked(
        context.mcpReq.send({
          method: 'elicitation/create',
          params: {
            message: 'Check the fields.',
            requestedSchema: {
              type: 'object',
              properties: {
                name: { type: 'string', default: 'John Doe' },
                age: { type: 'integer', default: 30 },
                score: { type: 'number', default: 95.5 },
                status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
                verified: { type: 'boolean', default: true },
              },
              required: [],
            },
          },
        }),
      ),
  },
  {
    name: 'test_elicitation_sep1330_enums',
    description: 'Asks the user with a form that has every kind of choice',
    run: (_args, context) => {
      const plain = ['option1', 'option2', 'option3']
      const titled = ['value1', 'value2', 'value3'].map((value, at) => ({ const: value, title: `Option ${at + 1}` }))
      return asked(
        context.mcpReq.send({
          method: 'elicitation/create',
          params: {
            message: 'Choose.',
            requestedSchema: {
              type: 'object',
              properties: {
                untitledSingle: { type: 'string', enum: plain },
                titledSingle: { type: 'string', oneOf: titled },
                legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['One', 'Two', 'Three'] },
                untitledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { type: 'string', enum: plain } },
                titledMulti: { type: 'array', minItems: 1, maxItems: 3, items: { anyOf: titled } },
              },
              required: [],
            },
          },
        }),
      )
    },
  },
]

/** The 2026 form: the answer says what is missing, and the client sends the call again with it. */
const modernAskingTools: readonly ToolEntry[] = [
  {
    name: 'test_missing_capability',
    description: 'Needs the sampling capability of the client',
    run: (_args, context) =>
      rawAnswer(context, 'model') === undefined
        ? inputRequired({ inputRequests: { model: askModel('Say one word.') } })
        : text('The model answered.'),
  },
  {
    name: 'test_input_required_result_elicitation',
    description: "Needs the user's name",
    run: (_args, context) => {
      const name = answered(context, 'user_name', 'name')
      if (name !== null) return text(`Good day, ${name}.`)
      return inputRequired({ inputRequests: { user_name: askText('What is your name?', 'name') } })
    },
  },
  {
    name: 'test_input_required_result_sampling',
    description: "Needs an answer of the client's model",
    run: (_args, context) => {
      const answer = rawAnswer<ModelAnswer>(context, 'capital_question')
      if (answer !== undefined) return text(`The model says: ${answer.content?.text ?? JSON.stringify(answer)}`)
      return inputRequired({ inputRequests: { capital_question: askModel('What is the capital of France?') } })
    },
  },
  {
    name: 'test_input_required_result_list_roots',
    description: "Needs the client's roots",
    run: (_args, context) => {
      const roots = rawAnswer<RootsAnswer>(context, 'client_roots')?.roots
      if (Array.isArray(roots)) return text(`Roots: ${roots.map((root) => root.uri).join(' ')}`)
      return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } })
    },
  },
  {
    name: 'test_input_required_result_request_state',
    description: 'Needs consent and gets its own state back',
    run: async (_args, context) => {
      const consent = acceptedContent(context.mcpReq.inputResponses, 'confirm')
      const state = context.mcpReq.requestState<{ about: string }>()
      if (consent !== undefined && state?.about === 'consent') return text('state-ok: consent came with its state')
      return inputRequired({
        inputRequests: { confirm: askConsent() },
        requestState: await states.mint({ about: 'consent' }),
      })
    },
  },
  {
    name: 'test_input_required_result_tampered_state',
    description: 'Accepts only a state that it made itself',
    run: async (_args, context) => {
      const consent = acceptedContent(context.mcpReq.inputResponses, 'confirm')
      if (consent !== undefined && context.mcpReq.requestState() !== undefined) return text('The state is ours.')
      return inputRequired({
        inputRequests: { confirm: askConsent() },
        requestState: await states.mint({ about: 'tampering' }),
      })
    },
  },
  {
    name: 'test_input_required_result_multiple_inputs',
    description: 'Needs three answers of different kinds in one round',
    run: async (_args, context) => {
      const name = answered(context, 'user_name', 'name')
      const greeting = rawAnswer<ModelAnswer>(context, 'greeting')?.content?.text
      const roots = rawAnswer<RootsAnswer>(context, 'client_roots')?.roots
      if (name !== null && greeting !== undefined && roots !== undefined)
        return text(`${greeting}, ${name}: ${roots.length} roots`)
      return inputRequired({
        inputRequests: {
          user_name: askText('What is your name?', 'name'),
          greeting: askModel('Greet somebody.'),
          client_roots: inputRequired.listRoots(),
        },
        requestState: await states.mint({ about: 'three' }),
      })
    },
  },
  {
    name: 'test_input_required_result_multi_round',
    description: 'Needs two rounds, the second depends on the first',
    run: async (_args, context) => {
      const state = context.mcpReq.requestState<{ about: string; round?: number; name?: string }>()
      const round = state?.about === 'rounds' ? (state.round ?? 0) : 0
      if (round === 0)
        return inputRequired({
          inputRequests: { step1: askText('What is your name?', 'name') },
          requestState: await states.mint({ about: 'rounds', round: 1 }),
        })
      if (round === 1)
        return inputRequired({
          inputRequests: { step2: askText('Which colour do you like?', 'color') },
          requestState: await states.mint({
            about: 'rounds',
            round: 2,
            name: answered(context, 'step1', 'name') ?? 'nobody',
          }),
        })
      return text(`${state?.name} likes ${answered(context, 'step2', 'color') ?? 'nothing'}`)
    },
  },
  {
    name: 'test_input_required_result_capabilities',
    description: 'Asks only what the client said it can answer',
    run: (_args, context) => {
      if (context.mcpReq.inputResponses !== undefined) return text('All answered.')
      const envelope = context.mcpReq.envelope as Record<string, ClientCapabilities | undefined> | undefined
      const declared = envelope?.[CLIENT_CAPABILITIES_META_KEY]
      const inputRequests: InputRequests = {}
      if (declared?.elicitation !== undefined) inputRequests.user_name = askText('What is your name?', 'name')
      if (declared?.sampling !== undefined) inputRequests.greeting = askModel('Greet somebody.')
      if (declared?.roots !== undefined) inputRequests.client_roots = inputRequired.listRoots()
      return Object.keys(inputRequests).length === 0
        ? text('This client can answer nothing.')
        : inputRequired({ inputRequests })
    },
  },
]

const changingTools = (hooks: Hooks): readonly ToolEntry[] => [
  {
    name: 'test_trigger_tool_change',
    description: 'Tells every open subscription that the tools have changed',
    run: () => {
      hooks.toolsChanged()
      return text('Told.')
    },
  },
  {
    name: 'test_trigger_prompt_change',
    description: 'Tells every open subscription that the prompts have changed',
    run: () => {
      hooks.promptsChanged()
      return text('Told.')
    },
  },
  {
    name: 'test_reconnection',
    description: 'Closes its stream before it has answered',
    run: async (_args, context) => {
      hooks.closeStream(context)
      await pause(100)
      return text('The answer was fetched afterwards.')
    },
  },
]

function addPrompts(server: McpServer): void {
  server.registerPrompt('test_simple_prompt', { description: 'One message' }, () => ({
    messages: [{ role: 'user', content: { type: 'text', text: 'A simple question.' } }],
  }))
  server.registerPrompt(
    'test_prompt_with_arguments',
    {
      description: 'Two arguments in one message',
      argsSchema: fromJsonSchema<{ arg1: string; arg2: string }>({
        type: 'object',
        properties: { arg1: { type: 'string' }, arg2: { type: 'string' } },
        required: ['arg1', 'arg2'],
      }),
    },
    ({ arg1, arg2 }) => ({ messages: [{ role: 'user', content: { type: 'text', text: `${arg1} and ${arg2}` } }] }),
  )
  server.registerPrompt(
    'test_prompt_with_embedded_resource',
    {
      description: 'A resource and a question about it',
      argsSchema: fromJsonSchema<{ resourceUri: string }>({
        type: 'object',
        properties: { resourceUri: { type: 'string' } },
        required: ['resourceUri'],
      }),
    },
    ({ resourceUri }) => ({
      messages: [
        {
          role: 'user',
          content: { type: 'resource', resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Its words.' } },
        },
        { role: 'user', content: { type: 'text', text: 'What does it say?' } },
      ],
    }),
  )
  server.registerPrompt('test_prompt_with_image', { description: 'A picture and a question about it' }, () => ({
    messages: [
      { role: 'user', content: image },
      { role: 'user', content: { type: 'text', text: 'What is on it?' } },
    ],
  }))
  // Without argsSchema the context is the callback's only argument, which the SDK's types leave open.
  server.registerPrompt('test_input_required_result_prompt', { description: 'Needs a context first' }, ((
    context: ServerContext,
  ) => {
    const wanted = answered(context, 'user_context', 'context')
    if (wanted === null)
      return inputRequired({ inputRequests: { user_context: askText('In which context?', 'context') } })
    return { messages: [{ role: 'user', content: { type: 'text', text: `In the context of ${wanted}.` } }] }
  }) as never)
}

function addResources(server: McpServer): void {
  const plain = (name: string, words: string): void => {
    const uri = `test://${name}`
    server.registerResource(name, uri, { description: `Holds ${name}`, mimeType: 'text/plain' }, () => ({
      contents: [{ uri, mimeType: 'text/plain', text: words }],
    }))
  }
  plain('static-text', 'Words that never change.')
  plain('watched-resource', 'Words that somebody may watch.')
  server.registerResource(
    'static-binary',
    'test://static-binary',
    { description: 'Holds a picture', mimeType: 'image/png' },
    () => ({ contents: [{ uri: 'test://static-binary', mimeType: 'image/png', blob: PIXEL }] }),
  )
  server.registerResource(
    'template',
    new ResourceTemplate('test://template/{id}/data', { list: undefined }),
    { description: 'Data by number', mimeType: 'application/json' },
    (uri, { id }) => ({
      contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, of: 'template' }) }],
    }),
  )
}

export function createThings(hooks: Hooks): McpServer {
  const server = new McpServer(
    { name: 'conformance-fixture', version: '1.0.0' },
    {
      capabilities: {
        tools: { listChanged: true },
        prompts: { listChanged: true },
        resources: { listChanged: true, subscribe: true },
        logging: {},
        completions: {},
      },
      requestState: { verify: states.verify },
    },
  )
  const tools = [
    ...contentTools,
    ...notifyingTools,
    ...legacyAskingTools,
    ...modernAskingTools,
    ...changingTools(hooks),
  ]
  for (const { name, description, schema, run } of tools) {
    const inputSchema = fromJsonSchema<Record<string, unknown>>(schema ?? NOTHING)
    server.registerTool(name, { description, inputSchema }, run)
  }
  addPrompts(server)
  addResources(server)
  server.server.setRequestHandler('resources/subscribe', () => ({}))
  server.server.setRequestHandler('resources/unsubscribe', () => ({}))
  server.server.setRequestHandler('logging/setLevel', () => ({}))
  server.server.setRequestHandler('completion/complete', ({ params }) => {
    const values = ['alpha', 'beta', 'gamma'].filter((word) => word.startsWith(params.argument.value))
    return { completion: { values, total: values.length, hasMore: false } }
  })
  return server
}
