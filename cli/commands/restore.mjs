import { restoredCheckpoint } from '../../lib/drop-in-shapes.js';
import { oneOf, parseStep, RUN_ID_OPTION, runOf, UsageError } from '../input.mjs';
import { count, plain } from '../output.mjs';

/** @type {import('../input.mjs').Definition} */
export const definition = {
  name: 'restore',
  usage: '<run> [checkpoint] [options]',
  summary: 'put a run back to a checkpoint',
  about:
    "Puts a run back to a checkpoint: run.json, the registry and the other JSON files at the top of the run's folder. All of them or none. Without a checkpoint and a step: the newest good one. Checkpoints newer than the restored one stay.",
  arguments: [
    ['run', "the run's id"],
    ['checkpoint', 'its id, from waymark list; this one and no other'],
  ],
  options: [
    {
      flags: '--step <step>',
      about: 'the newest good checkpoint of this step',
      parse: parseStep,
    },
    { flags: '--checkpoint-id <id>', about: 'the checkpoint, as the old tool took it' },
    RUN_ID_OPTION,
  ],
  examples: [
    ['waymark restore demo', 'to the newest good checkpoint'],
    ['waymark restore demo --step 1.5', 'to the newest good checkpoint of step 1.5'],
    ['waymark restore demo checkpoint-step-2-1767323045678', 'to this one'],
    [
      'waymark restore --run-id demo --checkpoint-id checkpoint-step-2-1767323045678',
      'as the old tool',
    ],
  ],
};

/** @param {import('../input.mjs').Input} input @returns {import('../input.mjs').Result} */
export function run(input) {
  const { manager, args, options } = input;
  const { runId, oldForm } = runOf(input);
  const checkpointId = oneOf([
    ['[checkpoint]', args[1]],
    ['--checkpoint-id', options.checkpointId],
  ]);
  oneOf([
    ['a checkpoint', checkpointId],
    ['--step', options.step],
  ]);
  // The old tool refused; a script that lost the id must not go back to another checkpoint.
  if (oldForm && checkpointId === undefined && options.step === undefined) {
    throw new UsageError('the checkpoint is missing: give --checkpoint-id <id>');
  }
  const restored = manager.restoreSync(runId, { checkpointId, step: options.step });
  const notices = restored.skipped.map((one) => `passed over ${one.checkpointId}: ${one.message}`);
  if (restored.recovered !== 'nothing') {
    notices.unshift(`a restore of run ${runId} had been cut off and was ${restored.recovered}`);
  }
  if (oldForm) return { data: restoredCheckpoint(restored), text: undefined, notices };
  const { checkpoint: _, ...data } = Object.getOwnPropertyDescriptors(restored);
  return {
    // Without the manifest, which may be large; `show --json` prints it.
    data: Object.defineProperties({}, /** @type {any} */ (data)),
    text: ({ paint }) => {
      const { checkpointId: id, step, timestamp, files, artifactsRestored } = restored;
      return [
        `${paint('green', 'restored')} run ${runId} to ${id} (step ${step}, taken ${timestamp})`,
        `${count(artifactsRestored, 'artifact')} in the registry; put back: ${plain(files.join(', '))}`,
        '',
        ...restored.recoveryInstructions.map((line) => plain(line)),
      ].join('\n');
    },
    notices,
  };
}
