/**
 * Ends the process when its event loop has stood still for too long. A run on the event loop that never ends stops
 * every timer there, so a thread has to look.
 */
import { Worker } from 'node:worker_threads';

/** A process that was stopped and goes on shows it within this time. */
const graceMs = 1_000;

/** As text, so that the thread loads nothing: it is there as long as the process is. */
const look = `
const { writeSync } = require('node:fs');
const { beats, limitMs, graceMs } = require('node:worker_threads').workerData;
for (;;) {
  const seen = Atomics.load(beats, 0);
  if (Atomics.wait(beats, 0, seen, limitMs) !== 'timed-out') continue;
  if (Atomics.wait(beats, 0, seen, graceMs) !== 'timed-out') continue;
  writeSync(2, 'the process ends: its event loop has stood still for ' + (limitMs + graceMs) / 1000 + ' s\\n');
  process.kill(process.pid, 'SIGKILL');
}`;

/** @returns stops watching */
export function watchEventLoop(limitMs: number): () => void {
  const beats = new Int32Array(new SharedArrayBuffer(4));
  const beat = () => {
    Atomics.add(beats, 0, 1);
    Atomics.notify(beats, 0);
  };
  const timer = setInterval(beat, limitMs / 4).unref();
  const worker = new Worker(look, { eval: true, execArgv: [], workerData: { beats, limitMs, graceMs } });
  worker.unref();
  return () => {
    clearInterval(timer);
    void worker.terminate();
  };
}
