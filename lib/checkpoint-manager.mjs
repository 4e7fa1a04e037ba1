import dropIn from './checkpoint-manager.js';

export const {
  createCheckpoint,
  restoreFromCheckpoint,
  listCheckpoints,
  restoreReport,
  CheckpointManager,
  WaymarkError,
} = dropIn;
export default dropIn;
