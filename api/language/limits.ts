/**
 * What an expression may use. Counted, never timed: the same expression on the same data ends the same way on a laptop
 * and on a busy cluster. docs/guides/expressions.md lists the numbers for users.
 */
export const limits = {
  /** Characters of one expression. */
  text: 4096,
  /** Parts of one parsed expression. */
  nodes: 20_000,
  /**
   * Work of one evaluation. One part of the expression evaluated once is 1; what a built-in does with large values, and
   * each character that a regular expression looks at, is added. One step takes a microsecond or less.
   */
  steps: 1_000_000,
  /** Parts of the expression that are under way at once: what a recursion that is no tail call takes, and a group with many keys. About 5 kB each. */
  active: 25_000,
  /** Blocks and functions inside each other: each look-up of a name walks them all. */
  scopes: 64,
  /** Items of one list that an expression makes. */
  items: 100_000,
  /** Characters of one string that an expression makes. */
  characters: 4_194_304,
  /** Maps and lists inside each other. */
  depth: 256,
  /** Instructions of one compiled regular expression. */
  regexSize: 5_000,
  /** Characters of a picture ($formatNumber, $toMillis …): no picture that means something is longer. */
  picture: 256,
  /** Steps after which other work gets a turn. */
  slice: 20_000,
} as const;
