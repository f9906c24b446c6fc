import type { CandidateAnswer, StableAnswer } from './types.ts';

/**
 * Whose fault it was that a request of the candidate's share did not end well. What the candidate fails at, the stable side is
 * asked too, so that the caller sees no error; its answer tells who is to blame:
 *
 * - stable answers it: the candidate's;
 * - stable says 4xx too: the client's, and nobody's trial;
 * - stable fails too, or was not asked (the caller had gone): nobody can say, and it is nobody's trial.
 */
export function blame(
  candidate: CandidateAnswer,
  stable: StableAnswer | undefined,
): 'Nobody' | 'Candidate' | 'Unjudged' {
  if (candidate === 'Ok') return 'Nobody';
  return stable === 'Ok' ? 'Candidate' : 'Unjudged';
}
