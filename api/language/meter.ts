import { limits } from './limits.ts';

/** An expression, or the check of a value, wants more than {@link limits} allow. */
export class LimitExceeded extends Error {}

const count = (value: number) => value.toLocaleString('en-US');

/** Steps for each character that is copied, compared or searched; for each item or member that is visited. */
const perCharacter = 0.005;
const perItem = 0.05;

/**
 * Counts the work of one evaluation. Values are measured while they are walked, and the walk ends with the budget:
 * a value that holds itself many times over ([[x, x], [x, x]] …) is small in memory and endless to visit.
 */
export class Meter {
  #used = 0;
  #pauseAt: number = limits.slice;

  /** @throws LimitExceeded */
  spend(steps: number): void {
    this.#used += steps;
    if (this.#used > limits.steps) throw new LimitExceeded(`it takes more than ${count(limits.steps)} steps`);
  }

  /** Whether it is other work's turn. */
  pauseIsDue(): boolean {
    if (this.#used < this.#pauseAt) return false;
    this.#pauseAt = this.#used + limits.slice;
    return true;
  }

  /** Text that is read once. */
  characters(length: number): void {
    this.spend(length * perCharacter);
  }

  /** The items of a list, and of lists in it: what is flattened, tested for truth or searched. */
  items(value: unknown, depth = 0): void {
    if (!Array.isArray(value)) return;
    this.#deeper(depth);
    this.spend(value.length * perItem);
    for (const item of value) if (Array.isArray(item)) this.items(item, depth + 1);
  }

  /** All of a value: what is compared, copied or written as JSON. */
  everything(value: unknown, depth = 0): void {
    if (typeof value === 'string') this.characters(value.length);
    else if (typeof value === 'object' && value !== null && !isFunctionValue(value)) {
      this.#deeper(depth);
      const parts = Array.isArray(value) ? value : Object.values(value);
      this.spend(parts.length * perItem * 4);
      for (const part of parts) this.everything(part, depth + 1);
    }
  }

  /** @throws LimitExceeded */
  made(text: string): void {
    if (text.length > limits.characters) throw longText();
    this.characters(text.length);
  }

  #deeper(depth: number): void {
    if (depth > limits.depth) throw new LimitExceeded(`a value is nested deeper than ${limits.depth}`);
  }
}

export const longText = () => new LimitExceeded(`text is longer than ${count(limits.characters)} characters`);
export const longList = () => new LimitExceeded(`a list has more than ${count(limits.items)} items`);

/** Whether JSONata takes `value` for a function: its lambdas and built-ins are objects with a flag. */
export function isFunctionValue(value: unknown): boolean {
  if (typeof value === 'function') return true;
  if (typeof value !== 'object' || value === null) return false;
  const flags = value as { _jsonata_function?: unknown; _jsonata_lambda?: unknown };
  return flags._jsonata_function === true || flags._jsonata_lambda === true;
}
