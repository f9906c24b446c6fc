/** Who may start a request, and when: limits per event, per origin, and in all. */

/** A request that wants to start. */
export interface Job {
  readonly gate: Gate;
  /** No longer wanted: it waited beyond its deadline. */
  readonly isOver: boolean;
  start(): void;
}

/** Requests of one step to one origin. */
export class Gate {
  readonly origin: string;
  active = 0;
  /** Jobs that wait for it or go through it. */
  users = 0;
  constructor(origin: string) {
    this.origin = origin;
  }
}

/** The gates of one step. */
export class Gates {
  readonly limit: number;
  /** Requests of the step that are under way. */
  active = 0;
  readonly #gates = new Map<string, Gate>();

  constructor(limit: number) {
    this.limit = limit;
  }

  get(origin: string): Gate {
    let gate = this.#gates.get(origin);
    if (!gate) {
      gate = new Gate(origin);
      this.#gates.set(origin, gate);
    }
    return gate;
  }

  left(gate: Gate): void {
    if (--gate.users === 0) this.#gates.delete(gate.origin);
  }

  get size(): number {
    return this.#gates.size;
  }
}

/** The requests of one event: those under way, and those that wait, by origin. */
export class Line {
  readonly gates: Gates;
  readonly #concurrency: number;
  readonly #lanes = new Map<Gate, Job[]>();
  active = 0;

  constructor(concurrency: number, gates: Gates) {
    this.#concurrency = concurrency;
    this.gates = gates;
  }

  get isEmpty(): boolean {
    return this.#lanes.size === 0;
  }

  hasRoom(gate: Gate): boolean {
    return this.active < this.#concurrency && gate.active < this.gates.limit;
  }

  push(job: Job): void {
    const lane = this.#lanes.get(job.gate);
    if (lane) lane.push(job);
    else this.#lanes.set(job.gate, [job]);
  }

  /** Takes out a job that may start: of the origin whose turn it is, among those that have room. */
  shift(): Job | undefined {
    if (this.active >= this.#concurrency) return undefined;
    for (const [gate, lane] of this.#lanes) {
      this.#dropOver(lane);
      if (lane.length > 0 && gate.active >= this.gates.limit) continue;
      const job = lane.shift();
      this.#lanes.delete(gate);
      if (lane.length > 0) this.#lanes.set(gate, lane);
      if (job) return job;
    }
    return undefined;
  }

  #dropOver(lane: Job[]): void {
    while (lane[0]?.isOver) {
      this.gates.left(lane[0].gate);
      lane.shift();
    }
  }

  clear(): void {
    for (const lane of this.#lanes.values()) for (const { gate } of lane) this.gates.left(gate);
    this.#lanes.clear();
  }
}

/**
 * Starts jobs as soon as all limits allow. Where the limit in all is what is short, lines take turns. A step has no more
 * under way than is free for the others: whatever its servers do, others can start.
 */
export class Schedule {
  readonly #limit: number;
  readonly #lines: Line[] = [];
  #turn = 0;
  #active = 0;
  #isStarting = false;

  /** @param limit requests under way in all */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Requests under way. */
  get active(): number {
    return this.#active;
  }

  /** Starts the job now or later. Nothing that waits is overtaken: where there is room, nothing that could use it waits. */
  submit(line: Line, job: Job): void {
    job.gate.users++;
    if (this.#hasRoom(line) && line.hasRoom(job.gate)) {
      this.#start(line, job);
      return;
    }
    if (line.isEmpty) this.#lines.push(line);
    line.push(job);
  }

  /** The request of a job has ended. */
  release(line: Line, gate: Gate): void {
    this.#active--;
    line.active--;
    line.gates.active--;
    gate.active--;
    line.gates.left(gate);
    if (this.#lines.length > 0) this.#startWaiting();
  }

  /** Forgets the jobs of a line that wait. */
  drop(line: Line): void {
    line.clear();
    const index = this.#lines.indexOf(line);
    if (index < 0) return;
    this.#lines.splice(index, 1);
    if (index < this.#turn) this.#turn--;
  }

  #hasRoom({ gates }: Line): boolean {
    return gates.active < this.#limit - this.#active;
  }

  #start(line: Line, job: Job): void {
    this.#active++;
    line.active++;
    line.gates.active++;
    job.gate.active++;
    job.start();
  }

  #startWaiting(): void {
    // A job that fails at once releases while we are at it; the loop sees the room that it leaves.
    if (this.#isStarting) return;
    this.#isStarting = true;
    for (let tried = 0; this.#active < this.#limit && tried < this.#lines.length; ) {
      if (this.#turn >= this.#lines.length) this.#turn = 0;
      const line = this.#lines[this.#turn] as Line;
      const job = this.#hasRoom(line) ? line.shift() : undefined;
      if (line.isEmpty) this.#lines.splice(this.#turn, 1);
      else this.#turn++;
      if (job) {
        tried = 0;
        this.#start(line, job);
      } else tried++;
    }
    this.#isStarting = false;
  }
}
