import { expect, it } from 'vitest';
import type { Resource } from '../../api/v1alpha1/resource.ts';
import type { KubeClient } from './client.ts';
import { EventRecorder } from './events.ts';

/** The note of an event that says this. */
async function noteOf(message: string): Promise<string> {
  const notes: string[] = [];
  const client = { call: async ({ body }: { body: { note: string } }) => void notes.push(body.note) };
  const events = new EventRecorder(client as unknown as KubeClient, {
    instance: 'test',
    now: () => new Date(0),
    failed: (error) => {
      throw error;
    },
  });
  const metadata = { name: 'iris', namespace: 'default' };
  const resource = { apiVersion: 'levada.dev/v1alpha1', kind: 'ModelDeployment', metadata } as unknown as Resource;
  await events.tell(resource, { type: 'Normal', reason: 'Test', message });
  return notes.join();
}

// The API server counts the bytes of a note, though its message speaks of characters.
it.each([
  ['short', 'short'],
  ['x'.repeat(1_024), 'x'.repeat(1_024)],
  ['x'.repeat(2_000), 'x'.repeat(1_024)],
  ['é'.repeat(600), 'é'.repeat(512)],
  [`x${'é'.repeat(600)}`, `x${'é'.repeat(511)}`],
  [`xx${'🦆'.repeat(300)}`, `xx${'🦆'.repeat(255)}`],
])('a note has at most 1,024 bytes, of whole characters', async (message, note) => {
  expect(await noteOf(message)).toBe(note);
});
