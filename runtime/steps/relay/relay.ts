import type { StepFactory } from '../step.ts';

/** Gives events of another pipeline on as they are, but for their type: that of the source. */
export const relayStep: StepFactory<'relay'> = () => ({
  async run({ message, data }) {
    const { id, source, subject, time, dataschema, extensions } = message;
    return [
      {
        id,
        source,
        ...(subject !== undefined && { subject }),
        ...(time !== undefined && { time }),
        ...(dataschema !== undefined && { dataschema }),
        extensions,
        data,
      },
    ];
  },
  async close() {},
});
