import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Cancel, type CancelReason } from './cancel.ts'

function heard(): { readonly reasons: CancelReason[]; readonly listener: (reason: CancelReason) => void } {
  const reasons: CancelReason[] = []
  return { reasons, listener: (reason) => reasons.push(reason) }
}

test('every listener hears the first reason, once', () => {
  const cancel = new Cancel()
  const [one, other] = [heard(), heard()]
  cancel.onCancel(one.listener)
  cancel.onCancel(other.listener)
  assert.deepEqual([cancel.cancelled, cancel.reason], [false, null])
  cancel.cancel('client')
  cancel.cancel('shutdown')
  assert.deepEqual([cancel.cancelled, cancel.reason], [true, 'client'])
  assert.deepEqual([one.reasons, other.reasons], [['client'], ['client']])
})

test('who comes late is told at once', () => {
  const cancel = new Cancel()
  cancel.cancel('disconnect')
  const { reasons, listener } = heard()
  cancel.onCancel(listener)()
  assert.deepEqual(reasons, ['disconnect'])
})

test('who has left hears nothing, and takes nobody else along', () => {
  const cancel = new Cancel()
  const [gone, stays] = [heard(), heard()]
  const leave = cancel.onCancel(gone.listener)
  cancel.onCancel(stays.listener)
  leave()
  leave()
  cancel.cancel('deadline')
  leave()
  assert.deepEqual([gone.reasons, stays.reasons], [[], ['deadline']])
})

test('listeners that come or leave while the others are told', () => {
  const cancel = new Cancel()
  const [late, last] = [heard(), heard()]
  const leave = cancel.onCancel(() => {
    leave()
    cancel.onCancel(late.listener)
  })
  cancel.onCancel(last.listener)
  cancel.cancel('client')
  assert.deepEqual([late.reasons, last.reasons], [['client'], ['client']])
})
