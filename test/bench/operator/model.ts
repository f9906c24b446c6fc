/** What the pods of the benchmark say that they have loaded. */
export const modelSha256 = 'ab'.repeat(32);
