import { type Node, parse } from './jsonata.ts';
import { limits } from './limits.ts';
import { NotAllowed } from './scan.ts';

/** How often `??` and `?:` may stand inside the left side of another one. */
const deepest = 6;

/**
 * JSONata keeps what is before `??` and `?:` twice, so each that stands inside the left side of another one doubles the
 * parsed expression: ((((a ?? b) ?? c) ?? d) … of 4,000 characters would not fit into any memory. To see how deep they
 * are, the expression is parsed once with an operator of the same rank in their place.
 *
 * @throws NotAllowed
 */
export function checkDefaults(text: string): void {
  const positions = new Set<number>();
  const probe = text.replaceAll(/\?\?|\?:/g, (operator, index: number) => {
    positions.add(index + operator.length);
    return '~>';
  });
  if (positions.size <= deepest) return;
  if (depthOf(parse(probe, { sequence: limits.items }).ast(), positions) > deepest) {
    throw new NotAllowed(`more than ${deepest} of ?? and ?: inside the left side of each other`);
  }
}

/**
 * The most operators at `positions` that are inside the left side of each other.
 *
 * @param chained whether `value` is what such an operator has on its left: a ?? b ?? c reads a ?? (b ?? c), where the
 *   stand-in reads (a ?? b) ?? c, so not all of it but b is on the left of the second one
 */
function depthOf(value: unknown, positions: ReadonlySet<number>, chained = false): number {
  if (typeof value !== 'object' || value === null || value instanceof RegExp) return 0;
  const node = value as Node;
  if (isDefault(node, positions)) {
    const first = isDefault(node.lhs, positions)
      ? depthOf(node.lhs, positions, true)
      : depthOf(node.lhs, positions) + 1;
    return Math.max(first, depthOf(node.rhs, positions) + (chained ? 1 : 0));
  }
  const parts = Object.entries(node).filter(
    ([key]) => !['ancestor', 'slot', 'seekingParent', 'signature'].includes(key),
  );
  return Math.max(0, ...parts.map(([, part]) => depthOf(part, positions)));
}

function isDefault(value: unknown, positions: ReadonlySet<number>): boolean {
  const node = value as Node | null;
  return typeof node === 'object' && node?.type === 'apply' && positions.has(node.position ?? -1);
}
