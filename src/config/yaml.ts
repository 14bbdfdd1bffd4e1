// YAML 1.2 by the library `yaml`, as a document with lines. Loaded only where there is a file to read: importing the
// library costs 30 ms. Absent on purpose: tags, merge keys and several documents in one file.

import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { DocumentFault, type Entry, type Located, NodeBudget, type ReportFault, scalar } from './located.ts'

/** Errors: DocumentFault. Duplicate keys are reported; the first one stays. */
export function readYaml(text: string, fault: ReportFault): Located {
  const lines = new LineCounter()
  // Our own walk finds duplicates: the library's check takes minutes on a hostile file, as its pretty errors do.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: false, schema: 'core' })
  const lineAt = (offset: number): number => Math.max(1, lines.linePos(offset).line)
  const [first] = [...document.errors, ...document.warnings]
  if (first !== undefined) throw new DocumentFault(lineAt(first.pos[0]), readable(first.message))
  const budget = new NodeBudget()
  const anchors = new Map<string, Node>()

  const lineOf = (node: Node, otherwise: number): number => (node.range ? lineAt(node.range[0]) : otherwise)
  const walk = (node: Node | null, line: number, depth: number): Located => {
    budget.take(line, depth)
    if (node === null) return scalar(line, null)
    const at = lineOf(node, line)
    if (isAlias(node)) {
      const target = anchors.get(node.source)
      if (target === undefined) throw new DocumentFault(at, `there is no anchor "${node.source}" before this`)
      return walk(target, at, depth + 1)
    }
    // Before its children: an anchor that holds itself then ends at the bound of depth.
    if (node.anchor !== undefined) anchors.set(node.anchor, node)
    if (isSeq<Node>(node)) {
      return { kind: 'list', line: at, items: node.items.map((item) => walk(item, at, depth + 1)) }
    }
    if (isMap<Node, Node | null>(node)) {
      const entries = new Map<string, Entry>()
      for (const { key, value } of node.items) {
        const keyLine = key === null ? at : lineOf(key, at)
        if (!isScalar(key) || (typeof key.value !== 'string' && typeof key.value !== 'number')) {
          throw new DocumentFault(keyLine, 'a key must be a text')
        }
        const name = key.source ?? String(key.value)
        const before = entries.get(name)
        if (before === undefined)
          entries.set(name, { line: keyLine, value: underKey(walk(value, keyLine, depth + 1), keyLine) })
        else fault(keyLine, `the key "${name}" stands in line ${before.line} already`)
      }
      return { kind: 'map', line: at, entries }
    }
    if (!isScalar(node)) throw new DocumentFault(at, 'this kind of value is not understood')
    const { value, source } = node
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === null) {
      return scalar(at, value, source ?? String(value))
    }
    throw new DocumentFault(at, 'this kind of value is not understood')
  }
  return walk(document.contents as Node | null, 1, 0)
}

/** What a key holds begins where the key stands, not at its own first entry. */
function underKey(value: Located, line: number): Located {
  return value.kind === 'scalar' ? value : { ...value, line }
}

function readable(message: string): string {
  if (message.includes('call stack')) return 'is nested too deeply'
  return message.split('\n')[0]!.slice(0, 200)
}
