import type { Topology } from '../../../api/contract/pipeline.ts';
import type { QueueName } from '../transport.ts';
import { MemoryQueue } from './queue.ts';

const none: ReadonlySet<MemoryQueue> = new Set();

/** Queues by name, and which of them get what. */
export class Exchange {
  /** Pipeline → name → queue. */
  readonly #queues = new Map<string, Map<string, MemoryQueue>>();
  /** Pipeline that emits → type → queues. */
  readonly #routes = new Map<string, Map<string, Set<MemoryQueue>>>();
  /** Queues of a pipeline, with what they are bound to, as they were applied last. */
  readonly #applied = new Map<string, Topology>();

  /** Queues that there are. */
  get count(): number {
    let count = 0;
    for (const ofPipeline of this.#queues.values()) count += ofPipeline.size;
    return count;
  }

  apply(topology: Topology): void {
    const { pipeline } = topology;
    for (const { name, bindings } of this.#applied.get(pipeline)?.queues ?? []) {
      const queue = this.find({ pipeline, queue: name });
      for (const binding of bindings) if (queue) this.#unbind(queue, binding.pipeline, binding.type);
    }
    this.#applied.set(pipeline, topology);
    for (const queue of this.ofPipeline(pipeline)) queue.listed = false;
    for (const { name, bindings } of topology.queues) {
      const queue = this.#make({ pipeline, queue: name });
      queue.listed = true;
      for (const binding of bindings) this.#bind(queue, binding.pipeline, binding.type);
    }
    for (const queue of this.ofPipeline(pipeline)) this.removeIfOver(queue);
    if (topology.queues.length === 0) this.#applied.delete(pipeline);
  }

  find({ pipeline, queue }: QueueName): MemoryQueue | undefined {
    return this.#queues.get(pipeline)?.get(queue);
  }

  ofPipeline(pipeline: string): MemoryQueue[] {
    return [...(this.#queues.get(pipeline)?.values() ?? [])];
  }

  route(pipeline: string, type: string): ReadonlySet<MemoryQueue> {
    return this.#routes.get(pipeline)?.get(type) ?? none;
  }

  /** A queue that is not listed goes when it holds nothing. */
  removeIfOver(queue: MemoryQueue): void {
    if (queue.listed || !queue.empty) return;
    const { pipeline, queue: name } = queue.name;
    const ofPipeline = this.#queues.get(pipeline);
    if (ofPipeline?.get(name) !== queue) return;
    ofPipeline.delete(name);
    if (ofPipeline.size === 0) this.#queues.delete(pipeline);
  }

  #make(name: QueueName): MemoryQueue {
    const found = this.find(name);
    if (found) return found;
    const queue = new MemoryQueue(name);
    const ofPipeline = this.#queues.get(name.pipeline);
    if (ofPipeline) ofPipeline.set(name.queue, queue);
    else this.#queues.set(name.pipeline, new Map([[name.queue, queue]]));
    return queue;
  }

  #bind(queue: MemoryQueue, pipeline: string, type: string): void {
    const types = this.#routes.get(pipeline) ?? new Map<string, Set<MemoryQueue>>();
    this.#routes.set(pipeline, types);
    const queues = types.get(type);
    if (queues) queues.add(queue);
    else types.set(type, new Set([queue]));
  }

  #unbind(queue: MemoryQueue, pipeline: string, type: string): void {
    const types = this.#routes.get(pipeline);
    const queues = types?.get(type);
    queues?.delete(queue);
    if (queues?.size === 0) types?.delete(type);
    if (types?.size === 0) this.#routes.delete(pipeline);
  }
}
