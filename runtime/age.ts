/**
 * How long this process has counted, milliseconds: what it was not there for is not in its counts. Rather more than less, since
 * whoever asks takes what began before him for counted.
 */
export const countedMs = (): number => Math.ceil(performance.now());
