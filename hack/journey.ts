import type { EventPipeline } from '../api/v1alpha1/event-pipeline.ts';
import type { Message } from '../runtime/events/message.ts';
import { parseTraceparent } from '../runtime/events/trace.ts';
import type { End } from '../runtime/pipeline/ends.ts';

/** Follows what becomes of one event, step by step, until nothing of it is left anywhere. */
export class Journey {
  readonly ends: End[] = [];
  readonly finished: Promise<void>;
  readonly #pipeline: EventPipeline;
  readonly #finish: () => void;
  readonly #early: End[] = [];
  #traceId: string | undefined;
  #open = 0;

  constructor(pipeline: EventPipeline) {
    this.#pipeline = pipeline;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.finished = promise;
    this.#finish = resolve;
  }

  /** The event that it begins with, known by its trace: ends that came before this was called are taken up. */
  follow(traceId: string, type: string): void {
    this.#traceId = traceId;
    this.#open = this.#consumers(type);
    for (const end of this.#early.splice(0)) this.add(end);
  }

  add(end: End): void {
    if (this.#traceId === undefined) {
      this.#early.push(end);
      return;
    }
    if (traceOf(end.message) !== this.#traceId) return;
    this.ends.push(end);
    if (end.end === 'retry' || end.end === 'released') return;
    this.#open += end.emits.reduce((sum, { type }) => sum + this.#consumers(type), 0) - 1;
    if (this.#open === 0) this.#finish();
  }

  #consumers(type: string): number {
    return this.#pipeline.spec.steps.filter(({ consumes }) => consumes.includes(type)).length;
  }
}

const traceOf = ({ extensions }: Message): string | undefined => parseTraceparent(extensions['traceparent'])?.traceId;

/** One line an end: `inventory   order.created → stock.reserved   12 ms   {"order_id":…}`. */
export function journeyLines(ends: readonly End[]): string[] {
  const rows = ends.map(({ step, message, end, emits, ms, reason, error }) => {
    const what = end === 'done' ? emits.map(({ type }) => type).join(', ') || 'done' : end;
    const detail = reason === undefined ? emits.map(preview).join(' ') : `${reason}: ${error}`;
    return { step, arrow: `${message.type} → ${what}`, time: `${Math.round(ms)} ms`, detail };
  });
  const width = (key: 'step' | 'arrow' | 'time') => Math.max(0, ...rows.map((row) => row[key].length));
  return rows.map(
    (row) =>
      `  ${row.step.padEnd(width('step'))}  ${row.arrow.padEnd(width('arrow'))}  ${row.time.padStart(width('time'))}  ${row.detail}`,
  );
}

function preview({ data }: Message): string {
  const text = Buffer.from(data).toString('utf8');
  return text.length > 150 ? `${text.slice(0, 149)}…` : text;
}
