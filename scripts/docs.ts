// `npm run docs` writes the references that are made from code; test/docs.test.ts fails when one is out of date.
// Add a file here by its path and a function that returns its text.

import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { cliReference } from './docs-cli.ts'
import { errorsReference } from './docs-errors.ts'
import { limitsReference } from './docs-limits.ts'
import { schemaFile, settingsReference } from './docs-settings.ts'

export const DOCUMENTS: Readonly<Record<string, () => string | Promise<string>>> = {
  'docs/cli.md': cliReference,
  'docs/errors.md': errorsReference,
  'docs/gateway.schema.json': schemaFile,
  'docs/limits.md': limitsReference,
  'docs/settings.md': settingsReference,
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..')
  for (const [file, make] of Object.entries(DOCUMENTS)) {
    mkdirSync(dirname(join(root, file)), { recursive: true })
    writeFileSync(join(root, file), await make())
    console.log(file)
  }
}
