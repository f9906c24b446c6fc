/** A step, as far as circles are concerned. */
interface Node {
  readonly name: string;
  readonly consumes: readonly string[];
  readonly emits?: readonly string[] | undefined;
}

interface Hop {
  readonly step: string;
  /** What it emits to the next step of the circle; the last one's goes to the first. */
  readonly type: string;
}

/** A circle of steps in which each emits what the next one consumes; `undefined` where there is none. */
export function findCycle(steps: readonly Node[]): Hop[] | undefined {
  const finished = new Set<string>();
  const visit = (node: Node, trail: readonly Hop[]): Hop[] | undefined => {
    const start = trail.findIndex(({ step }) => step === node.name);
    if (start >= 0) return trail.slice(start);
    if (finished.has(node.name)) return undefined;
    for (const type of node.emits ?? []) {
      for (const next of steps.filter(({ consumes }) => consumes.includes(type))) {
        const found = visit(next, [...trail, { step: node.name, type }]);
        if (found) return found;
      }
    }
    finished.add(node.name);
    return undefined;
  };
  for (const step of steps) {
    const found = visit(step, []);
    if (found) return found;
  }
  return undefined;
}
