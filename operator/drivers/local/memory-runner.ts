import type { PipelineParts } from '../../../api/contract/pipeline.ts';
import { systemClock } from '../../../runtime/clock.ts';
import { type HostOptions, PipelineHost } from '../../../runtime/pipeline/host.ts';
import { MemoryTransport } from '../../../runtime/transports/memory/transport.ts';
import type { StepReport } from '../routing/report.ts';
import type { PipelineRunner, RunnerView } from './runner.ts';

/** Runs pipelines inside this process, on a broker in its memory. */
export class MemoryRunner implements PipelineRunner {
  readonly place = 'memory';
  readonly transport = new MemoryTransport({ clock: systemClock });
  readonly host: PipelineHost;
  readonly #startedAt = Date.now();

  constructor(options: Omit<HostOptions, 'transport'>) {
    this.host = new PipelineHost({ ...options, transport: this.transport });
  }

  apply(parts: PipelineParts): Promise<void> {
    return this.host.apply(parts);
  }

  remove(pipeline: string): Promise<void> {
    return this.host.remove(pipeline);
  }

  release(pipeline: string): Promise<void> {
    return this.host.release(pipeline);
  }

  async forget(pipeline: string): Promise<boolean> {
    await this.host.forget(pipeline);
    return true;
  }

  /** It costs nothing: it is never closed for that. */
  get isIdle(): boolean {
    return false;
  }

  async observe(pipeline: string): Promise<RunnerView> {
    return { ...(await this.host.observe(pipeline)), broker: { kind: 'memory' } };
  }

  counts(pipeline: string): ReturnType<PipelineHost['counts']> {
    return this.host.counts(pipeline);
  }

  trials(pipeline: string, step: string): StepReport[] {
    return [{ process: this.place, trials: this.host.trials(pipeline, step), beganAt: this.#startedAt }];
  }

  admins(): string[] {
    return [];
  }

  async close(): Promise<void> {
    await this.host.close();
  }

  /** It ends with this process. */
  kill(): void {}
}
